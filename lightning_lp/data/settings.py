"""Refuses settings of the data module that cannot be right."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from lightning_lp.data.schema import UnknownMovies
from lightning_lp.errors import UserError, require

_MAX_COUNT, _MAX_WORKERS, _MAX_RATIO = 2**31, 256, 10_000


def check_settings(hparams: Mapping[str, Any]) -> None:
    """Checks the data module's hyper-parameters, before anything is read.

    Raises:
        UserError: one is out of its range, or two contradict each other.
    """

    def check(right: bool, name: str, wanted: str) -> None:
        require(right, f"--data.{name}", hparams[name], wanted)

    for name in ("batch_size", "eval_batch_size"):
        check(1 <= hparams[name] < _MAX_COUNT, name, "1 or more, and less than 2^31,")
    check(0 <= hparams["num_workers"] <= _MAX_WORKERS, "num_workers", f"0 to {_MAX_WORKERS}")
    for name in ("neg_sampling_ratio", "eval_neg_sampling_ratio"):
        check(0 < hparams[name] <= _MAX_RATIO, name, f"more than 0, and {_MAX_RATIO:,} or less,")
    for name in ("num_val", "num_test"):
        check(0 <= hparams[name] < 1, name, "0 or more, and less than 1,")
    for name in ("split_seed", "seed"):
        check(0 <= hparams[name] < 2**63, name, "0 or more, and less than 2^63,")
    check(0 <= hparams["disjoint_train_ratio"] < 1, "disjoint_train_ratio", "0 or more, and less than 1")
    hops = hparams["num_neighbors"]
    check(
        hops is None or (len(hops) > 0 and all(n == -1 or 0 < n < _MAX_COUNT for n in hops)),
        "num_neighbors",
        "a list of -1 or more than 0",
    )
    for name, least in (("eval_num_neighbors", 1), ("num_raters", 0)):
        given = hparams[name]
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
    _check_names(hparams, check)
    if hparams["disjoint_train_ratio"] == 0 and not hparams["exclude_seed_links"]:
        raise UserError(
            "--data.exclude_seed_links false with --data.disjoint_train_ratio 0 would show the model the very links "
            "that it is to predict: leave one of them on"
        )


def _check_names(hparams: Mapping[str, Any], check: Callable[[bool, str, str], None]) -> None:
    """Files and columns have names, and columns of one file different ones."""
    for name in ("movies_file", "ratings_file"):
        check(hparams[name] is None or hparams[name].strip() != "", name, "the name of a file")
    check(hparams["genres_separator"] != "", "genres_separator", "a character or more")
    check(hparams["unknown_movies"] in get_args(UnknownMovies), "unknown_movies", "refuse, drop or keep")
    own = "movie_id_column"
    names = [name for name in hparams if name.endswith("_column") and hparams[name] is not None]
    for name in names:
        check(hparams[name].strip() != "", name, "the name of a column")
        others = {own, "title_column", "genres_column"} if name == own else {*names} - {own}
        same = [other for other in names if other in others and hparams[other] == hparams[name] and other != name]
        check(not same, name, f"another column than --data.{', --data.'.join(same)} has")
