"""The LightningDataModule: owns reading, graph, split and loaders."""

import time
from collections.abc import Mapping
from copy import copy
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.sampler import NegativeSampling
from torch_geometric.typing import EdgeType

from lightning_lp.data.files.layouts import STANDARD
from lightning_lp.data.handover import EMBEDDED, Handover, Reads, ReadsGraph, Start
from lightning_lp.data.previous import Changes, Previous
from lightning_lp.data.rating_graph import RatingGraph, build_graph
from lightning_lp.data.schema import (
    MOVIE,
    MOVIES_FILE,
    RATES,
    RATINGS_FILE,
    REV_RATES,
    USER,
    Columns,
    Reading,
    UnknownMovies,
)
from lightning_lp.data.settings import (
    CHANGES,
    RENAMED,
    Sampling,
    SplitSettings,
    check_settings,
    with_old_options,
)
from lightning_lp.data.sources.locate import locate
from lightning_lp.data.sources.synthetic import SAMPLE_NAME
from lightning_lp.data.state import check_state, graph_state, load_values
from lightning_lp.data.tables import Pairs, Tables, read_pairs, read_tables
from lightning_lp.errors import UserError, naming
from lightning_lp.graph.links import without_messages
from lightning_lp.graph.loader import LinkLoader, link_loader
from lightning_lp.graph.split import LinkSplit, split_links
from lightning_lp.graph.strategies import is_by_time
from lightning_lp.graph.ties import is_tied
from lightning_lp.plain import make_plain

_MIN_BATCHES = 8
"""An epoch has at least so many, where the links of a batch carry no messages in it."""

_SPLIT, _SAMPLING = SplitSettings(), Sampling()


class MovieLensDataModule(pl.LightningDataModule):
    """MovieLens-style data: from two tables to mini-batches.

    Without ``root`` and ``dataset``, ml-latest-small is fetched; without a network, a synthetic sample stands in.

    Args:
        root: folder with ``movies.csv`` and ``ratings.csv``; their bytes may be packed (``.csv.gz``, ``.csv.zst``) or
            Parquet (``.parquet``). With the split ``given`` the ratings are in ``train.csv``, ``val.csv`` and
            ``test.csv``, and ``movies.csv`` may be absent.
        dataset: public archive to fetch instead: ml-latest-small, ml-100k, ml-1m, ml-25m or ml-32m.
        cache_dir: where archives are kept. Default: ``$LIGHTNING_LP_CACHE``, else ``~/.cache/lightning_lp``.
        columns: the columns' names in the two files.
        movies_file: another name or path of the movies' file. ``movies.csv`` stands for ``movies.csv.gz``,
            ``movies.csv.zst``, ``movies.parquet`` and the older layouts, too; null: train on the ratings alone.
        ratings_file: another name or path of the ratings' file.
        genres_separator: what stands between the genres of a movie. Lists and JSON are read without it.
        unknown_movies: rated movies that the movies' file lacks: ``refuse`` them if more than 1 % of the ratings are
            theirs, ``drop`` their ratings, or ``keep`` them without title and genres.
        text_ids: keep all ids as text, as written. By default whole numbers (``3`` or ``3.0``, but not ``007``) are
            numbers if all ids are.
        min_rating: lower ratings are no links, only seen. Default: every rating is a link.
        title_terms: whether the words and years of titles are features of movies, beside genres.
        split: how links are held out for validation and test.
        sampling: what is sampled for a batch.
        batch_size: links per training batch and process, negatives not counted. With ``sampling.exclude_seed_links``
            an eighth of all training links at most, over all processes: the rest are the messages that the batch
            learns from.
        eval_batch_size: labels per evaluation batch and process.
        num_workers: processes that sample batches; 0 samples in the main process.
        predict_file: CSV file with the (user, movie) pairs that ``predict`` scores.
        seed: seed of order, negatives and neighbours. The command line sets it to ``--seed_everything``.
        previous: checkpoint of a run that this one updates, on all of its data and more. Users and movies that it knows
            keep their places in the graph, and come first; what it was trained on is held out by no split; and
            ``LinkPredictionModule`` starts from its weights.
        old_options: settings by the names that they had in earlier versions, whose checkpoints have them: ``num_val``,
            ``user_column`` and so on before 0.2, and ``reading`` in 0.2. Groups may be dictionaries in Python.

    Examples:
        >>> from pathlib import Path
        >>> from lightning_lp import MovieLensDataModule
        >>> from lightning_lp.data.sources.synthetic import write_movielens
        >>> write_movielens(Path("movies"), num_users=20, num_movies=30, num_ratings=300)
        >>> data = MovieLensDataModule("movies")
        >>> data.num_users, data.num_movies
        (20, 30)
        >>> [int(data.part(name)["user", "rates", "movie"].edge_label.sum()) for name in ("val", "test")]
        [30, 30]
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["user", "rates", "movie"].edge_label_index.shape  # 30 links, each with two negatives
        torch.Size([2, 90])
    """

    def __init__(
        self,
        root: str | None = None,
        dataset: str | None = None,
        cache_dir: str | None = None,
        columns: Columns = STANDARD,
        movies_file: str | None = MOVIES_FILE,
        ratings_file: str = RATINGS_FILE,
        genres_separator: str = "|",
        unknown_movies: UnknownMovies = "refuse",
        text_ids: bool = False,
        min_rating: float | None = None,
        title_terms: bool = True,
        split: SplitSettings = _SPLIT,
        sampling: Sampling = _SAMPLING,
        batch_size: int = 4096,
        eval_batch_size: int = 8192,
        num_workers: int = 0,
        predict_file: str | None = None,
        seed: int = 0,
        previous: str | None = None,
        **old_options: Any,
    ) -> None:
        super().__init__()
        given = {
            "columns": columns,
            "movies_file": movies_file,
            "ratings_file": ratings_file,
            "genres_separator": genres_separator,
            "unknown_movies": unknown_movies,
            "text_ids": text_ids,
            "split": split,
            "sampling": sampling,
        }
        settings = with_old_options(given, old_options)
        self.save_hyperparameters(ignore=[*settings, *old_options], logger=False)
        self.hparams.update(settings)
        make_plain(self.hparams)
        self.hparams.update(absolute_paths(self.hparams))
        self.columns = Columns(**self.hparams["columns"])
        self.reading = Reading(**{each.name: self.hparams[each.name] for each in fields(Reading)})
        self.split_settings = SplitSettings(**self.hparams["split"])
        self.sampling = Sampling(**self.hparams["sampling"])
        check_settings(self.hparams, self.split_settings, self.sampling)
        self.tables: Tables
        self.graph: RatingGraph
        self.split: LinkSplit
        self.pairs: Pairs
        self.previous: Previous | None = None
        self.setup_s = 0.0
        self._is_set_up = False

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As Lightning's, but a group that is given may be a part of it: the rest is the checkpoint's.

        It is made from the hyper-parameters alone: the command line's parser knows no old ones.
        """
        changes = {name: kwargs.pop(name) for name in [*kwargs] if name in RENAMED}
        if "previous" not in kwargs and _was_updated(load_values(checkpoint_path, lazily=True)):
            kwargs["previous"] = str(checkpoint_path)  # it tells the same, and is there
        return super().load_from_checkpoint(
            checkpoint_path, *args, **{"_instantiator": None, CHANGES: changes, **kwargs}
        )

    @cached_property
    def root(self) -> Path:
        """The folder that is read."""
        return locate(self.hparams["root"], self.hparams["dataset"], self.hparams["cache_dir"])

    def prepare_data(self) -> None:
        """Fetches the data, or writes the sample."""
        _ = self.root

    def setup(self, stage: str | None = None) -> None:
        """Reads the tables, builds the graph and splits it, once; further calls change nothing."""
        if not self._is_set_up:
            settings, start = self.split_settings, time.perf_counter()
            min_rating = self.hparams["min_rating"]
            self.tables = read_tables(
                self.root,
                self.columns,
                self.reading,
                needs_ratings=min_rating is not None,
                in_parts=settings.strategy == "given",
            )
            self._check_times()
            if (path := self.hparams["previous"]) is not None:
                self.previous = Previous(path)
                self.tables = self.previous.ordered(self.tables)
            self.graph = build_graph(self.tables, min_rating, self.hparams["title_terms"])
            self.tables = self.tables.without_ratings()
            with naming("--data.split.", link="rating"):
                before = None if self.previous is None else self.previous.parts(self.graph)
                given = {"part": self.graph.part, "before": before, **settings.of_links()}
                self.split = split_links(self.graph.data, RATES, REV_RATES, **given)
            self.setup_s = time.perf_counter() - start
            self._is_set_up = True
        if stage == "predict":
            if self.hparams["predict_file"] is None:
                raise UserError("predict needs --data.predict_file FILE, a CSV file with the pairs to score")
            self.pairs = read_pairs(self.hparams["predict_file"], self.columns, self.graph.users, self.graph.movies)
        if self.trainer is not None and self.trainer.world_size > 1:
            self._check_ranks(self.trainer)
        self._check_reads()
        if (module := self._module) is not None:
            settings, rating = self.split_settings, self.graph.data[RATES].get("rating")
            told = settings.neg_sampling_ratio, self.load_state_dict, self.is_by_time, settings.history, rating
            module.take_over(Handover(self.split, *told, self.start))

    def _check_times(self) -> None:
        """Refuses a split that needs times of tables without."""
        settings, problem = self.split_settings, self.tables.time_problem
        if problem is None:
            return
        if settings.strategy not in ("random", "given"):
            raise UserError(f"--data.split.strategy {settings.strategy} needs the time of ratings: {problem}")
        if settings.history == "rolling":
            raise UserError(f"--data.split.history rolling needs the time of ratings: {problem}")

    @property
    def start(self) -> Start | None:
        """What a training starts from, if a run is updated."""
        return None if self.previous is None else Start(self.previous, self.previous.places(self.graph))

    @property
    def changes(self) -> Changes:
        """What is new since the run that is updated; sets the data up.

        Raises:
            ValueError: none is updated.
        """
        self.setup()
        if self.previous is None:
            raise ValueError("no run is updated: give `previous`")
        return self.previous.changes(self.graph, self.split.num_kept)

    @property
    def is_by_time(self) -> bool:
        """Whether the split is by time, and labels have times; sets the data up."""
        if not self._is_set_up:  # what is asked within setup must not begin it again
            self.setup()
        return is_by_time(self.split_settings.strategy, "time" in self.graph.data[RATES])

    @cached_property
    def tied(self) -> dict[str, float | None]:
        """By part (``val``, ``test``) the share of its links that are tied in time with another link of their user.

        To a link what is tied with it is no history in training and where history is rolling; frozen history is all
        that is not held out. None where there is no such part, or the split is not by time.
        """
        parts: dict[str, float | None] = dict.fromkeys(("val", "test"))
        if self.is_by_time:
            links = self.graph.data[RATES]
            tied = is_tied(links.edge_index[0], links.time)
            for name, graph in self.split.held_out.items():
                store = graph[RATES]
                parts[name] = float(tied[store.edge_label_id[store.edge_label > 0].long()].double().mean())
        return parts

    @property
    def num_users(self) -> int:
        """Number of user nodes; sets the data up."""
        self.setup()
        return len(self.graph.users)

    @property
    def num_movies(self) -> int:
        """Number of movie nodes; sets the data up."""
        self.setup()
        return len(self.graph.movies)

    @property
    def num_features(self) -> int:
        """Width of the movies' features; sets the data up."""
        self.setup()
        return len(self.graph.genre_vocabulary)

    @property
    def num_terms(self) -> int:
        """Number of terms of titles; sets the data up."""
        self.setup()
        return len(self.graph.title_vocabulary)

    @property
    def max_terms(self) -> int:
        """The most terms of one title; sets the data up."""
        self.setup()
        return int(self.graph.data[MOVIE].terms.size(1))

    @property
    def dataset_name(self) -> str:
        """Name of the data set: ``synthetic-sample``, or that of the folder."""
        return SAMPLE_NAME if self.root.name.startswith(SAMPLE_NAME) else self.root.resolve().name

    @property
    def below_min_rating(self) -> dict[str, int]:
        """How many ratings ``min_rating`` leaves out, as one more reason beside those of the tables."""
        count = self.tables.rows_read - sum(self.tables.dropped.values()) - self.graph.data[RATES].num_edges
        return {"below_min_rating": count} if count else {}

    def train_dataloader(self) -> LinkLoader:
        """Training links, in another order and with other negatives in each epoch."""
        # Without links to avoid, any pair of a user and a movie is drawn.
        avoided = self.split.train_links if self.sampling.exact_negatives else self.split.train_links[:, :0]
        degree = torch.bincount(self.split.train_links[0], minlength=self.num_users)
        return self._loader(
            self.split.train,
            self._fan_out(),
            batch_size=self._train_batch_size(),
            of_users={"degree": degree, **self._non_link_weight(degree)},
            positives=avoided,
            neg_sampling=NegativeSampling("binary", self.sampling.neg_sampling_ratio),
            **self._by_user,
            **self._by_time,
        )

    @property
    def _by_user(self) -> dict[str, Any]:
        """How links are ordered and non-links drawn, where the model wants the links of a user together."""
        if not (num_batches := self.reads.batches_per_user):
            return {}
        user = self.split.train[RATES].edge_label_index[0]
        return {"group": user, "parts_per_group": num_batches, "same_source": True}

    def _non_link_weight(self, degree: Tensor) -> dict[str, Tensor]:
        """What a non-link of each user counts in training, so that those of its links count as pairs of any users."""
        by_user = self._by_user
        if not by_user or self._by_time:  # in splits by time validation judges non-links of the links' users, too
            return {}
        drawn = torch.bincount(by_user["group"], minlength=self.num_users)
        left = self.num_movies - degree
        return {"non_link_weight": (left / left.sum() * drawn.sum() / drawn.clamp(min=1)).float()}

    @property
    def _by_time(self) -> dict[str, str]:
        """How messages are sampled, where the model reads what came before a link alone."""
        strategy = self.reads.temporal_strategy
        return {} if strategy is None else {"time_attr": "time", "temporal_strategy": strategy}

    def _train_batch_size(self) -> int:
        """``batch_size``, or less where the links left out of a batch's messages would leave too few of them."""
        size: int = self.hparams["batch_size"]
        if not self.sampling.exclude_seed_links:
            return size
        num_links = int(self.split.train[RATES].edge_label_index.size(1))
        return min(size, max(1, num_links // (_MIN_BATCHES * self._world_size)))

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _module(self) -> ReadsGraph | None:
        """The Trainer's model, if it says what it reads."""
        module = self.trainer.lightning_module if self.trainer else None
        return module if isinstance(module, ReadsGraph) else None

    @property
    def reads(self) -> Reads:
        """What the model reads; of one that does not say, a user's movies and no more."""
        return self._module.reads if self._module else Reads(edge_types=(RATES, REV_RATES))

    @property
    def _edge_attrs(self) -> list[str]:
        """The attributes of edges that the model reads and this data have."""
        reads = self.reads
        return [*reads.edge_attrs, *(name for name in reads.optional_edge_attrs if name in self.graph.data[RATES])]

    def _check_reads(self) -> None:
        """Refuses before a training begins what the model could not read in it."""
        self._fan_out()
        lacking = [name for name in self.reads.edge_attrs if name not in self.graph.data[RATES]]
        if lacking:
            have = [name for name in ("rating", "time") if name in self.graph.data[RATES]]
            raise UserError(
                f"the encoder reads {' and '.join(lacking)} of each rating, and this data has "
                f"{' and '.join(have) or 'neither rating nor time'}: give the columns (--data.columns.rating, "
                "--data.columns.time), or choose another encoder"
            )
        if self.reads.temporal_strategy is not None and not self.is_by_time:
            raise UserError(
                "the encoder learns from what came before each rating, and this split is not by time: give "
                "--data.split.strategy leave_last_out (or temporal), or choose another encoder"
            )

    def _fan_out(self, *, is_training: bool = True) -> dict[EdgeType, list[int]]:
        """Neighbours to sample per node in each hop: as the settings say, else as the model wishes.

        In evaluation all, and in training none of a model that reads none there.

        Raises:
            UserError: the settings ask for another number of hops than the model reads.
        """
        reads, sampling = self.reads, self.sampling
        wished = reads.num_neighbors or {RATES: [0], REV_RATES: [-1]}
        hops = max(map(len, wished.values()))
        for name in ("num_neighbors", "num_neighbors_of_movies", "eval_num_neighbors"):
            given = getattr(sampling, name)
            if given is not None and reads.num_neighbors is not None and len(given) != hops:
                raise UserError(
                    f"--data.sampling.{name} {given} is for {len(given)} hops, and the encoder reads {hops}: leave it "
                    "out, or give the encoder as many layers (--model.encoder.num_layers, if it has that option)"
                )
        given = sampling.num_neighbors
        if not is_training:
            hops = len(given) if given is not None else hops
            wanted = sampling.eval_num_neighbors or [-1] * hops
            wished, given = {key: wanted if any(n) else n for key, n in wished.items()}, given and wanted
        elif not reads.trains_on_messages:
            wished = {key: [0] * hops for key in wished}
        if given is not None:
            wished = {key: given if key in reads.edge_types else [0] * len(given) for key in wished}
        of_movies = sampling.num_neighbors_of_movies
        return wished | ({RATES: of_movies} if of_movies is not None else {})

    def val_dataloader(self) -> LinkLoader | list[LinkLoader]:
        """Validation links and non-links; messages are the training links. Nothing where ``num_val`` is 0."""
        return self._part_loader("val", TrainerFn.VALIDATING)

    def test_dataloader(self) -> LinkLoader | list[LinkLoader]:
        """Test links and non-links; messages are the training and validation links. Nothing where ``num_test`` is 0."""
        return self._part_loader("test", TrainerFn.TESTING)

    def predict_dataloader(self) -> LinkLoader:
        """The pairs of ``predict_file``; messages are all links but those being scored."""
        graph = copy(self.graph.data)
        graph[RATES].edge_label_index = torch.from_numpy(np.stack([self.pairs.user, self.pairs.movie]))
        return self._eval_loader(graph)

    def part(self, name: str) -> HeteroData:
        """A held-out part of the split, ``val`` or ``test``.

        Raises:
            UserError: there is none.
        """
        with naming("--data.split."):
            return self.split.part(name)

    def _part_loader(self, part: str, asked_by: TrainerFn) -> LinkLoader | list[LinkLoader]:
        if part not in self.split.held_out and (self.trainer is None or self.trainer.state.fn != asked_by):
            return []  # a fit without this part
        graph = self.part(part)
        if self.reads.all_nodes and self.sampling.eval_num_neighbors is None:
            graph = without_messages(graph)
            graph[EMBEDDED] = part
        return self._eval_loader(graph)

    def _eval_loader(self, graph: HeteroData) -> LinkLoader:
        num_labels = int(graph[RATES].edge_label_index.size(1))
        if num_labels < self._world_size:
            raise UserError(
                f"{num_labels} labels cannot be shared by {self._world_size} processes: give --trainer.devices "
                f"{num_labels} or less, or more data"
            )
        # Lightning waits for ever for a process without a batch.
        batch_size = min(self.hparams["eval_batch_size"], num_labels // self._world_size)
        return self._loader(graph, self._fan_out(is_training=False), batch_size=batch_size)

    def _loader(
        self,
        graph: HeteroData,
        num_neighbors: dict[EdgeType, list[int]],
        of_users: Mapping[str, Tensor] = {},
        **options: Any,
    ) -> LinkLoader:
        """A loader over ``graph``; batches hold ``of_users``, [num_users] each, and of edges what the model reads."""
        hparams, graph = self.hparams, copy(graph)
        graph[MOVIE].pop("terms", None)  # the model has them
        for name, value in of_users.items():
            graph[USER][name] = value
        return link_loader(
            graph,
            num_neighbors,
            edge_type=RATES,
            rev_edge_type=REV_RATES,
            edge_attrs=self._edge_attrs,
            exclude_seed_links=self.sampling.exclude_seed_links,
            seed=hparams["seed"],
            num_workers=hparams["num_workers"],
            num_replicas=self._world_size,
            rank=self.trainer.global_rank if self.trainer else 0,
            **options,
        )

    def transfer_batch_to_device(self, batch: HeteroData, device: torch.device, dataloader_idx: int) -> HeteroData:
        """Copies a batch, which is pinned where there is a GPU, while the model still works on the one before."""
        return batch.to(device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to stand alone: ids, titles, genres, links and the split's fingerprint."""
        read = {name: self.graph.data[RATES][name] for name in self._edge_attrs}
        return {
            "name": self.dataset_name,
            **graph_state(self.graph, self.split),
            **({"edge_attrs": read} if read else {}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compares the checkpoint's data with that at hand, which ``load_from_checkpoint`` has still to read.

        Raises:
            UserError: users, movies, genres, links or the split differ.
        """
        self.setup()
        is_of_source = self.is_by_time and self.split_settings.non_links != "any"
        check_state(state_dict, self.graph, self.split, self.root, is_of_source=is_of_source)

    def _check_ranks(self, trainer: pl.Trainer) -> None:
        mine = self.split.fingerprint
        first = trainer.strategy.broadcast(mine)
        if mine != first:
            raise UserError(
                f"process {trainer.global_rank} read other data than process 0 (split {mine}, not {first}): "
                "give every machine the same files"
            )


def absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that are paths, as they are to be kept: so that a run finds its files from any folder."""
    names = [name for name in ("root", "cache_dir", "predict_file", "previous") if settings.get(name) is not None]
    found: dict[str, Any] = {name: _absolute(settings[name]) for name in names}
    # The two tables' names are looked for in the root first.
    root = Path(settings.get("root") or ".").expanduser()
    for name in ("movies_file", "ratings_file"):
        table = Path(settings[name] or "").expanduser()
        if len(table.parts) > 1 and table.exists() and not (root / table).exists():
            found[name] = _absolute(settings[name])
    return found


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _was_updated(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of a run that updated another."""
    return content.get("datamodule_hyper_parameters", {}).get("previous") is not None


def data_of(trainer: pl.Trainer) -> MovieLensDataModule | None:
    """The data module of a run, if it is one of ours."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, MovieLensDataModule) else None
