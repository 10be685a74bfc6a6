"""Refuses settings of the model that cannot be right."""

import math
from collections.abc import Mapping
from typing import Any

from lightning_lp.errors import require
from lightning_lp.model.losses import LOSSES


def check_model(hparams: Mapping[str, Any]) -> None:
    """Checks the model's hyper-parameters.

    Raises:
        UserError: one is out of its range, or two contradict each other.
    """

    def check(right: bool, name: str, wanted: str) -> None:
        require(right, f"--model.{name}", hparams[name], wanted)

    losses = hparams["losses"]
    known = ", ".join(sorted(LOSSES))
    check(
        bool(losses) and set(losses) <= set(LOSSES) and all(weight > 0 for weight in losses.values()),
        "losses",
        f"a weight above 0 for one or more of {known}",
    )
    check(0 < hparams["lr"] < math.inf, "lr", "more than 0")
    check(hparams["user_exponent"] >= 0, "user_exponent", "0 or more")
    check(hparams["weight_decay"] is None or hparams["weight_decay"] >= 0, "weight_decay", "0 or more, or null,")
