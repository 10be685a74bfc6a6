"""The settings of the data module: its groups, and how they were given in earlier versions."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, get_args

from lightning_lp.data.schema import RATINGS_FILE, Columns, Reading
from lightning_lp.errors import UserError, require
from lightning_lp.graph.labels import NonLinks
from lightning_lp.graph.strategies import Strategy

_MAX_COUNT, _MAX_WORKERS, _MAX_RATIO = 2**31, 256, 10_000
_RATIO = f"more than 0, and {_MAX_RATIO:,} or less,"

GROUPS = ("columns", "split", "sampling")
"""Arguments of the data module that are dataclasses."""
OLD_NAMES = {
    **{f"{name}_column": f"columns.{name}" for name in ("user", "movie", "rating", "time", "title", "genres")},
    "movie_id_column": "columns.movie_id",
    **{f"reading.{each.name}": each.name for each in fields(Reading)},
    "split": "split.strategy",
    "num_val": "split.num_val",
    "num_test": "split.num_test",
    "split_seed": "split.seed",
    "disjoint_train_ratio": "split.disjoint_train_ratio",
    "eval_neg_sampling_ratio": "split.neg_sampling_ratio",
    "exclude_seed_links": "sampling.exclude_seed_links",
    "neg_sampling_ratio": "sampling.neg_sampling_ratio",
    "exact_negatives": "sampling.exact_negatives",
    "num_neighbors": "sampling.num_neighbors",
    "num_raters": "sampling.num_neighbors_of_movies",
    "eval_num_neighbors": "sampling.eval_num_neighbors",
}
"""Path of a setting of the data module in an earlier version -> path of now."""
OLD_GROUPS = {old.partition(".")[0] for old in OLD_NAMES if "." in old}
"""Groups that there are no more."""
RENAMED = {path.partition(".")[0] for paths in OLD_NAMES.items() for path in paths}
"""Arguments of the data module, of now and of before, that ``OLD_NAMES`` tells of."""

CHANGES = "_changes"
"""Among the old options: settings that replace those of a checkpoint."""
OF_CHECKPOINTS = {"split": {"non_links": "any"}}
"""What was not yet a setting when older checkpoints were written, and is now another by default."""

History = Literal["frozen", "rolling"]
"""``frozen``: one query for each user, whose history is the messages of the part's graph. ``rolling``: one for each
distinct (user, time) of the part's held-out links, whose history is every link of that user that is strictly earlier,
held-out links included, as TGB and RelBench judge."""


@dataclass(frozen=True)
class SplitSettings:
    """How links are held out for validation and test.

    Attributes:
        strategy: ``random``, ``temporal`` (the latest of all), ``leave_last_out`` (the last two of each user) or
            ``given`` (your own files: ``train.csv``, and ``val.csv``, ``test.csv`` or both, in place of ratings.csv).
        num_val: share of the links held out for validation; 0: no validation, and the last epoch is the best.
        num_test: share of the links held out for test; 0: no test. With both 0 a model learns from every link. To
            ``leave_last_out`` and ``given`` any other share is the same: a part is as told by the strategy.
        seed: seed of the split, apart from ``--seed_everything``.
        disjoint_train_ratio: share of the training links that are scored and carry no messages. 0: every training
            link does both, which needs ``sampling.exclude_seed_links``.
        neg_sampling_ratio: non-links per link among the validation and test labels.
        non_links: ``of_source``: each non-link is another movie of the user of a held-out link, one that exists by
            then, so that AUROC says which movie and not which user; ``any``: any pair without a link; ``auto``:
            ``of_source`` where the split is by time.
        history: what counts as earlier where the split is by time. ``frozen``: the links that are not held out, for
            all links of a user at once; ``rolling``: for each held-out link all earlier ones, held out or not.

    Raises:
        UserError: a value is out of its range, or ``history`` is rolling where no link is earlier.
    """

    strategy: Strategy = "random"
    num_val: float = 0.1
    num_test: float = 0.1
    seed: int = 0
    disjoint_train_ratio: float = 0.0
    neg_sampling_ratio: float = 2.0
    non_links: NonLinks = "auto"
    history: History = "frozen"

    def __post_init__(self) -> None:
        def check(right: bool, name: str, wanted: str) -> None:
            require(right, f"--data.split.{name}", getattr(self, name), wanted)

        check(self.strategy in get_args(Strategy), "strategy", f"one of {', '.join(get_args(Strategy))}")
        check(0 <= self.num_val < 1, "num_val", "0 or more, and less than 1,")
        check(0 <= self.num_test < 1, "num_test", "0 or more, and less than 1,")
        check(0 <= self.seed < 2**63, "seed", "0 or more, and less than 2^63,")
        check(0 <= self.disjoint_train_ratio < 1, "disjoint_train_ratio", "0 or more, and less than 1")
        check(0 < self.neg_sampling_ratio <= _MAX_RATIO, "neg_sampling_ratio", _RATIO)
        check(self.non_links in get_args(NonLinks), "non_links", f"one of {', '.join(get_args(NonLinks))}")
        check(self.history in get_args(History), "history", f"one of {', '.join(get_args(History))}")
        check(
            self.history == "frozen" or self.strategy != "random",
            "history",
            "frozen with --data.split.strategy random, where no link is earlier than another,",
        )

    def of_links(self) -> dict[str, Any]:
        """Those of the settings that are arguments of ``split_links``."""
        return {name: value for name, value in vars(self).items() if name != "history"}


@dataclass(frozen=True)
class Sampling:
    """What is sampled for a batch.

    Attributes:
        num_neighbors: neighbours sampled per node in each hop; -1 takes all. Default: what the model's encoder wants.
        num_neighbors_of_movies: of those, how many users are sampled per movie, where that is to differ; [0]: none.
        eval_num_neighbors: ``num_neighbors`` in evaluation. Default: all; ``LinkPredictionModule`` then embeds all
            nodes once for a validation or test, and its batches carry no messages.
        neg_sampling_ratio: negatives per link in training, drawn anew for each batch.
        exact_negatives: never draw a training link as a negative. ``false`` draws any pair, as the tutorial does.
        exclude_seed_links: leave the links that a batch scores out of its messages.

    Raises:
        UserError: a value is out of its range, or lists differ in their number of hops.
    """

    num_neighbors: list[int] | None = None
    num_neighbors_of_movies: list[int] | None = None
    eval_num_neighbors: list[int] | None = None
    neg_sampling_ratio: float = 2.0
    exact_negatives: bool = True
    exclude_seed_links: bool = True

    def __post_init__(self) -> None:
        def check(right: bool, name: str, wanted: str) -> None:
            require(right, f"--data.sampling.{name}", getattr(self, name), wanted)

        hops = self.num_neighbors
        check(
            hops is None or (len(hops) > 0 and all(n == -1 or 0 < n < _MAX_COUNT for n in hops)),
            "num_neighbors",
            "a list of -1 or more than 0",
        )
        for name, least in (("eval_num_neighbors", 1), ("num_neighbors_of_movies", 0)):
            given = getattr(self, name)
            check(
                given is None or (len(given) > 0 and all(n == -1 or least <= n < _MAX_COUNT for n in given)),
                name,
                f"a list of -1 or at least {least}",
            )
            check(
                given is None or hops is None or len(given) == len(hops),
                name,
                f"a list of {len(hops or [])} numbers, as many as num_neighbors has,",
            )
        check(0 < self.neg_sampling_ratio <= _MAX_RATIO, "neg_sampling_ratio", _RATIO)


def check_settings(hparams: Mapping[str, Any], split: SplitSettings, sampling: Sampling) -> None:
    """Checks what is in no group, and what groups must agree on, before anything is read.

    Raises:
        UserError: a setting is out of its range, or two contradict each other.
    """

    def check(right: bool, name: str, wanted: str) -> None:
        require(right, f"--data.{name}", hparams[name], wanted)

    for name in ("batch_size", "eval_batch_size"):
        check(1 <= hparams[name] < _MAX_COUNT, name, "1 or more, and less than 2^31,")
    check(0 <= hparams["num_workers"] <= _MAX_WORKERS, "num_workers", f"0 to {_MAX_WORKERS}")
    check(0 <= hparams["seed"] < 2**63, "seed", "0 or more, and less than 2^63,")
    if split.strategy == "given" and (file := hparams["ratings_file"]) != RATINGS_FILE:
        raise UserError(
            f"--data.ratings_file {file}: leave it out with --data.split.strategy given, which reads "
            "train.csv, val.csv (or validation.csv) and test.csv"
        )
    if split.history == "rolling" and sampling.eval_num_neighbors is not None:
        raise UserError(
            f"--data.sampling.eval_num_neighbors {sampling.eval_num_neighbors}: leave it out with --data.split.history "
            "rolling, where each held-out link has all that is earlier as its history"
        )
    if split.disjoint_train_ratio == 0 and not sampling.exclude_seed_links:
        raise UserError(
            "--data.sampling.exclude_seed_links false with --data.split.disjoint_train_ratio 0 would show the model "
            "the very links that it is to predict: leave one of them on"
        )


def grouped(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the data module by the names of now, each in its group if it has one; the later wins.

    Args:
        layers: settings as now or in an earlier version. A group may be incomplete: those of all layers are put
            together.
    """
    found: dict[str, Any] = {}
    for name, value in (item for layer in layers for item in leaves(layer)):
        place, _, leaf = OLD_NAMES.get(name, name).partition(".")
        if not leaf:
            found[place] = value
        elif isinstance(group := found.setdefault(place, {}), dict):
            group[leaf] = value
    return found


def leaves(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings by their paths (``split.num_val``), as they are given: old names stay old."""
    for name, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if name in OLD_GROUPS and value is None:
            continue
        if name in (*GROUPS, *OLD_GROUPS) and isinstance(value, Mapping):
            yield from ((f"{name}.{leaf}", each) for leaf, each in value.items())
        else:
            yield name, value


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by the names that follow ``--data.``, with one that was given by an old name by its name of now."""
    return dict(leaves(grouped(settings)))


def short_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by their short names, as TensorBoard shows them: they differ though they tell of no group."""
    short = {new: old for old, new in OLD_NAMES.items() if "." not in old}
    return {short.get(name, name): value for name, value in dotted(settings).items()}


def with_old_options(given: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by their names of now, and groups as dictionaries.

    Args:
        given: settings by their names of now; a group's dictionary may lack what is to be as by default.
        old: settings by their old names, and groups that there are no more; those of ``CHANGES`` go before all others.

    Raises:
        TypeError: there never was such a setting, or it, or its group, is given by its name of now, too.
    """
    defaults = {"columns": Columns(), **asdict(Reading()), "split": SplitSettings(), "sampling": Sampling()}
    rest = dict(leaves({name: value for name, value in old.items() if name != CHANGES}))
    if unknown := [name for name in rest if name not in OLD_NAMES]:
        raise TypeError(f"MovieLensDataModule has no arguments {', '.join(unknown)}")
    for name in rest:
        place, _, leaf = OLD_NAMES[name].partition(".")
        is_old = place in OLD_NAMES and isinstance(given[place], str)
        if given[place] != defaults[place] and not is_old:
            raise TypeError(
                f"{name} is now {f'{leaf} of {place}' if leaf else place}, which is given, too: give it there alone"
            )
    return grouped(defaults, OF_CHECKPOINTS if CHANGES in old else {}, given, rest, old.get(CHANGES, {}))
