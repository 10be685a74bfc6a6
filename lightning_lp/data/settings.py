"""Refuses settings of the data module that cannot be right."""

from collections.abc import Mapping
from typing import Any

from lightning_lp.errors import UserError


def check_settings(hparams: Mapping[str, Any]) -> None:
    """Checks the data module's hyper-parameters, before anything is read.

    Raises:
        UserError: one is out of its range, or two contradict each other.
    """

    def require(right: bool, name: str, wanted: str) -> None:
        if not right:
            raise UserError(f"--data.{name} {hparams[name]}: {wanted} wanted")

    for name in ("batch_size", "eval_batch_size"):
        require(hparams[name] >= 1, name, "1 or more")
    require(hparams["num_workers"] >= 0, "num_workers", "0 or more")
    for name in ("neg_sampling_ratio", "eval_neg_sampling_ratio"):
        require(hparams[name] > 0, name, "more than 0")
    require(0 <= hparams["disjoint_train_ratio"] < 1, "disjoint_train_ratio", "0 or more, and less than 1")
    hops = hparams["num_neighbors"]
    require(len(hops) > 0 and all(n == -1 or n > 0 for n in hops), "num_neighbors", "a list of -1 or more than 0")
    for name, least in (("eval_num_neighbors", 1), ("num_raters", 0)):
        given = hparams[name]
        require(
            given is None or (len(given) == len(hops) and all(n == -1 or n >= least for n in given)),
            name,
            f"a list of {len(hops)} numbers, as many as num_neighbors has, -1 or at least {least},",
        )
    if hparams["disjoint_train_ratio"] == 0 and not hparams["exclude_seed_links"]:
        raise UserError(
            "--data.exclude_seed_links false with --data.disjoint_train_ratio 0 would show the model the very links "
            "that it is to predict: leave one of them on"
        )
