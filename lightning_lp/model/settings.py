"""Refuses settings of the model that cannot be right."""

import math
from collections.abc import Mapping
from typing import Any

from lightning_lp.errors import UserError, require
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
    for name, least in (("hidden_channels", 1), ("spectral_channels", 0)):
        check(least <= hparams[name] < 2**20, name, f"{least} or more, and less than a million,")
    for name in ("lr", "temperature"):
        check(0 < hparams[name] < math.inf, name, "more than 0")
    for name in ("spectral_weight", "spectral_l2", "weight_decay", "user_exponent"):
        check(hparams[name] >= 0, name, "0 or more")
    check(0 <= hparams["dropout"] < 1, "dropout", "0 or more, and less than 1")
    if hparams["encoder"] == "history" and hparams["num_layers"] != 1:
        raise UserError(
            f"--model.encoder history reads one hop, and {hparams['num_layers']} are sampled: "
            "give --data.num_neighbors [-1], or --model.encoder sage"
        )
