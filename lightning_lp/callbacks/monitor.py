"""The metric by which checkpoints are chosen and training is stopped: its direction, and whether there is a value."""

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from lightning_lp.errors import UserError, nearest
from lightning_lp.evaluation.direction import LOGGED, Mode


def mode_of(option: str, monitor: str | None, mode: Mode | None) -> Mode:
    """Whether the smallest or the largest value of a metric is the best: as given, else as the metric has it.

    Args:
        option: group of the options, for messages: ``checkpoint``.
        monitor: name of the metric; none: the mode does not matter.
        mode: as given.

    Raises:
        UserError: no mode is given, and the metric is none of this project's.
    """
    follows = LOGGED.get(monitor or "", mode)
    if monitor is None:
        return mode or "min"
    if follows is None:
        near = nearest(monitor, LOGGED)
        raise UserError(
            f"--{option}.monitor {monitor} is no metric that is known here ("
            + (f"did you mean {near}?" if near else f"known are {', '.join(LOGGED)}")
            + f"): if it is one of your own, give --{option}.mode min or max as well"
        )
    if mode not in (None, follows):
        rank_zero_warn(f"--{option}.mode {mode}: {monitor} is better when {'small' if follows == 'min' else 'large'}")
    return mode or follows


def validates(trainer: pl.Trainer) -> bool:
    """Whether this fit has anything to validate on."""
    batches = trainer.num_val_batches
    return trainer.enable_validation and (sum(batches) if isinstance(batches, list) else batches) > 0


def has_value(trainer: pl.Trainer, option: str, monitor: str) -> bool:
    """Whether a metric has a value yet: before the first validation none has.

    Raises:
        UserError: a validation has run, and the metric was not measured in it.
    """
    found = trainer.callback_metrics
    if monitor in found:
        return True
    is_early = monitor.startswith("train/") and trainer.current_epoch == 0  # means over the epoch come at its end
    if not is_early and any(name.startswith("val/") for name in found):
        raise UserError(
            f"--{option}.monitor {monitor}: there is no such metric after validation; there are "
            f"{', '.join(sorted(found))}"
        )
    return False
