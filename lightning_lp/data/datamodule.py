"""The LightningDataModule: owns reading, graph, split and loaders."""

import time
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.sampler import NegativeSampling
from torch_geometric.typing import EdgeType

from lightning_lp.data.handover import EMBEDDED, Handover, Reads, ReadsGraph
from lightning_lp.data.rating_graph import RatingGraph, build_graph
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER, Columns, Reading, UnknownMovies
from lightning_lp.data.settings import check_settings
from lightning_lp.data.sources.locate import locate
from lightning_lp.data.sources.synthetic import SAMPLE_NAME
from lightning_lp.data.state import check_state, graph_state
from lightning_lp.data.tables import Pairs, Tables, read_pairs, read_tables
from lightning_lp.errors import UserError, naming
from lightning_lp.graph.links import without_messages
from lightning_lp.graph.loader import LinkLoader, link_loader
from lightning_lp.graph.split import LinkSplit, split_links
from lightning_lp.graph.strategies import Strategy
from lightning_lp.plain import make_plain

_MIN_BATCHES = 8
"""An epoch has at least so many, where the links of a batch carry no messages in it."""

_FLAGS = {"strategy": "--data.split", "neg_sampling_ratio": "--data.eval_neg_sampling_ratio", "link": "rating"}
"""What users of the command line call the arguments of ``split_links``."""


class MovieLensDataModule(pl.LightningDataModule):
    """MovieLens-style data: from two tables to mini-batches.

    Without ``root`` and ``dataset``, ml-latest-small is fetched; without a network, a synthetic sample stands in.

    Args:
        root: folder with ``movies.csv`` and ``ratings.csv``; their bytes may be packed (``.csv.gz``, ``.csv.zst``) or
            Parquet (``.parquet``).
        dataset: public archive to fetch instead: ml-latest-small, ml-100k, ml-1m, ml-25m or ml-32m.
        cache_dir: where archives are kept. Default: ``$LIGHTNING_LP_CACHE``, else ``~/.cache/lightning_lp``.
        movies_file: another name or path of the movies' file; null: train on the ratings alone.
        ratings_file: another name or path of the ratings' file.
        user_column: name of the column with the user's id.
        movie_column: name of the column with the movie's id, in both files.
        movie_id_column: its name in the movies' file, where that is another. Default: ``movie_column``.
        rating_column: name of the column with the rating; null ignores it.
        time_column: name of the column with the rating's time; null ignores it.
        title_column: name of the column with the movie's title; null ignores it.
        genres_column: name of the column with the movie's genres; null ignores it.
        genres_separator: what stands between the genres of a movie. Lists and JSON are read without it.
        unknown_movies: rated movies that the movies' file lacks: ``refuse`` them if more than 1 % of the ratings are
            theirs, ``drop`` their ratings, or ``keep`` them without title and genres.
        text_ids: keep all ids as text, as written. By default whole numbers (``3`` or ``3.0``, but not ``007``) are
            numbers if all ids are.
        min_rating: lower ratings are no links, only seen. Default: every rating is a link.
        title_terms: whether the words and years of titles are features of movies, beside genres.
        split: how links are held out: ``random``, ``temporal`` (the latest of all) or ``leave_last_out``
            (the last two of each user).
        num_val: share of the links held out for validation; 0: no validation, and the last epoch is the best.
        num_test: share of the links held out for test; 0: no test. With both 0 a model learns from every link.
        split_seed: seed of the split, apart from ``--seed_everything``.
        disjoint_train_ratio: share of the training links that are scored and carry no messages. 0: every training
            link does both, which needs ``exclude_seed_links``.
        exclude_seed_links: leave the links that a batch scores out of its messages.
        neg_sampling_ratio: negatives per link in training, drawn anew for each batch.
        eval_neg_sampling_ratio: non-links per link among the validation and test labels.
        exact_negatives: never draw a training link as a negative. ``false`` draws any pair, as the tutorial does.
        num_neighbors: neighbours sampled per node in each hop; -1 takes all. Default: what the model's encoder wants.
        num_raters: of those, how many users are sampled per movie, where that is to differ; [0]: none.
        eval_num_neighbors: ``num_neighbors`` in evaluation. Default: all; ``LinkPredictionModule`` then embeds all
            nodes once for a validation or test, and its batches carry no messages.
        batch_size: links per training batch and process, negatives not counted. With ``exclude_seed_links`` an eighth
            of all training links at most, over all processes: the rest are the messages that the batch learns from.
        eval_batch_size: labels per evaluation batch and process.
        num_workers: processes that sample batches; 0 samples in the main process.
        predict_file: CSV file with the (user, movie) pairs that ``predict`` scores.
        seed: seed of order, negatives and neighbours. The command line sets it to ``--seed_everything``.

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
        movies_file: str | None = Reading.movies_file,
        ratings_file: str = Reading.ratings_file,
        user_column: str = Columns.user,
        movie_column: str = Columns.movie,
        movie_id_column: str | None = None,
        rating_column: str | None = Columns.rating,
        time_column: str | None = Columns.time,
        title_column: str | None = Columns.title,
        genres_column: str | None = Columns.genres,
        genres_separator: str = Reading.genres_separator,
        unknown_movies: UnknownMovies = "refuse",
        text_ids: bool = False,
        min_rating: float | None = None,
        title_terms: bool = True,
        split: Strategy = "random",
        num_val: float = 0.1,
        num_test: float = 0.1,
        split_seed: int = 0,
        disjoint_train_ratio: float = 0.0,
        exclude_seed_links: bool = True,
        neg_sampling_ratio: float = 2.0,
        eval_neg_sampling_ratio: float = 2.0,
        exact_negatives: bool = True,
        num_neighbors: list[int] | None = None,
        num_raters: list[int] | None = None,
        eval_num_neighbors: list[int] | None = None,
        batch_size: int = 8192,
        eval_batch_size: int = 8192,
        num_workers: int = 0,
        predict_file: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        make_plain(self.hparams)
        self.hparams.update(absolute_paths(self.hparams))
        check_settings(self.hparams)
        self.columns = Columns(
            user=user_column,
            movie=movie_column,
            rating=rating_column,
            time=time_column,
            title=title_column,
            genres=genres_column,
        )
        self.reading = Reading(
            movies_file=movies_file,
            ratings_file=ratings_file,
            movie_id_column=movie_id_column,
            genres_separator=genres_separator,
            unknown_movies=unknown_movies,
            text_ids=text_ids,
            needs_ratings=min_rating is not None,
        )
        self.tables: Tables
        self.graph: RatingGraph
        self.split: LinkSplit
        self.pairs: Pairs
        self.setup_s = 0.0
        self._is_set_up = False

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
            hparams, start = self.hparams, time.perf_counter()
            self.tables = read_tables(self.root, self.columns, self.reading)
            if hparams["split"] != "random" and self.tables.time_problem is not None:
                raise UserError(
                    f"--data.split {hparams['split']} needs the time of ratings: {self.tables.time_problem}"
                )
            self.graph = build_graph(self.tables, hparams["min_rating"], hparams["title_terms"])
            self.tables = self.tables.without_ratings()
            with naming("--data.", **_FLAGS):
                self.split = split_links(
                    self.graph.data,
                    RATES,
                    REV_RATES,
                    strategy=hparams["split"],
                    num_val=hparams["num_val"],
                    num_test=hparams["num_test"],
                    disjoint_train_ratio=hparams["disjoint_train_ratio"],
                    neg_sampling_ratio=hparams["eval_neg_sampling_ratio"],
                    seed=hparams["split_seed"],
                )
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
            module.take_over(Handover(self.split, self.hparams["eval_neg_sampling_ratio"], self.load_state_dict))

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
        hparams = self.hparams
        # Without links to avoid, any pair of a user and a movie is drawn.
        avoided = self.split.train_links if hparams["exact_negatives"] else self.split.train_links[:, :0]
        return self._loader(
            self.split.train,
            self._fan_out(),
            batch_size=self._train_batch_size(),
            degree=torch.bincount(self.split.train_links[0], minlength=self.num_users),
            positives=avoided,
            neg_sampling=NegativeSampling("binary", hparams["neg_sampling_ratio"]),
        )

    def _train_batch_size(self) -> int:
        """``batch_size``, or less where the links left out of a batch's messages would leave too few of them."""
        size: int = self.hparams["batch_size"]
        if not self.hparams["exclude_seed_links"]:
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

    def _check_reads(self) -> None:
        """Refuses before a training begins what the model could not read in it."""
        self._fan_out()
        lacking = [name for name in self.reads.edge_attrs if name not in self.graph.data[RATES]]
        if lacking:
            have = [name for name in ("rating", "time") if name in self.graph.data[RATES]]
            raise UserError(
                f"the encoder reads {' and '.join(lacking)} of each rating, and this data has "
                f"{' and '.join(have) or 'neither rating nor time'}: give the columns (--data.rating_column, "
                "--data.time_column), or choose another encoder"
            )

    def _fan_out(self, *, is_training: bool = True) -> dict[EdgeType, list[int]]:
        """Neighbours to sample per node in each hop: as the settings say, else as the model wishes; in evaluation all.

        Raises:
            UserError: the settings ask for another number of hops than the model reads.
        """
        reads, hparams = self.reads, self.hparams
        wished = reads.num_neighbors or {RATES: [0], REV_RATES: [-1]}
        hops = max(map(len, wished.values()))
        for name in ("num_neighbors", "num_raters", "eval_num_neighbors"):
            given = hparams[name]
            if given is not None and reads.num_neighbors is not None and len(given) != hops:
                raise UserError(
                    f"--data.{name} {given} is for {len(given)} hops, and the encoder reads {hops}: leave it out, or "
                    "give the encoder as many layers (--model.encoder.num_layers, if it has that option)"
                )
        given = hparams["num_neighbors"]
        if not is_training:
            hops = len(given) if given is not None else hops
            wanted = hparams["eval_num_neighbors"] or [-1] * hops
            wished, given = {key: wanted if any(n) else n for key, n in wished.items()}, given and wanted
        if given is not None:
            wished = {key: given if key in reads.edge_types else [0] * len(given) for key in wished}
        return wished | ({RATES: hparams["num_raters"]} if hparams["num_raters"] is not None else {})

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
        with naming("--data."):
            return self.split.part(name)

    def _part_loader(self, part: str, asked_by: TrainerFn) -> LinkLoader | list[LinkLoader]:
        if part not in self.split.held_out and (self.trainer is None or self.trainer.state.fn != asked_by):
            return []  # a fit without this part
        graph = self.part(part)
        if self.reads.all_nodes and self.hparams["eval_num_neighbors"] is None:
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
        degree: Tensor | None = None,
        **options: Any,
    ) -> LinkLoader:
        """A loader over ``graph``; batches hold ``degree`` for their users, and of edges what the model reads."""
        hparams, graph = self.hparams, copy(graph)
        graph[MOVIE].pop("terms", None)  # the model has them
        if degree is not None:
            graph[USER].degree = degree
        return link_loader(
            graph,
            num_neighbors,
            edge_type=RATES,
            rev_edge_type=REV_RATES,
            edge_attrs=self.reads.edge_attrs,
            exclude_seed_links=hparams["exclude_seed_links"],
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
        read = {name: self.graph.data[RATES][name] for name in self.reads.edge_attrs}
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
        check_state(state_dict, self.graph, self.split, self.root)

    def _check_ranks(self, trainer: pl.Trainer) -> None:
        mine = self.split.fingerprint
        first = trainer.strategy.broadcast(mine)
        if mine != first:
            raise UserError(
                f"process {trainer.global_rank} read other data than process 0 (split {mine}, not {first}): "
                "give every machine the same files"
            )


def absolute_paths(settings: Mapping[str, Any]) -> dict[str, str]:
    """Those settings that are paths, as they are to be kept: so that a run finds its files from any folder."""
    names = [name for name in ("root", "cache_dir", "predict_file") if settings.get(name) is not None]
    # The two tables' names are looked for in the root first.
    root = Path(settings.get("root") or ".").expanduser()
    for name in ("movies_file", "ratings_file"):
        table = Path(settings.get(name) or "").expanduser()
        if len(table.parts) > 1 and table.exists() and not (root / table).exists():
            names.append(name)
    return {name: str(Path(settings[name]).expanduser().absolute()) for name in names}


def data_of(trainer: pl.Trainer) -> MovieLensDataModule | None:
    """The data module of a run, if it is one of ours."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, MovieLensDataModule) else None
