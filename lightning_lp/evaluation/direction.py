"""Which way each metric gets better."""

from collections.abc import Mapping
from typing import Literal

from lightning_lp.evaluation.label_metrics import LABEL_METRICS
from lightning_lp.evaluation.ranking import RANKING_METRICS
from lightning_lp.model.losses import LOSSES

Mode = Literal["min", "max"]

VALIDATION: Mapping[str, Mode] = {
    "loss": "min",
    "auroc": "max",
    "average_precision": "max",
    "calibration_error": "min",
    **dict.fromkeys((*RANKING_METRICS, *LABEL_METRICS), "max"),
}
"""Metrics of a validation (or a test), and whether the smallest or the largest value is the best."""

LOGGED: Mapping[str, Mode] = {
    **{f"val/{name}": mode for name, mode in VALIDATION.items()},
    **{f"train/{name}": "min" for name in ("loss", "loss_step", *LOSSES)},
}
"""The same for all that a fit logs and that can tell a good epoch from a bad one, by the names it is logged under."""
