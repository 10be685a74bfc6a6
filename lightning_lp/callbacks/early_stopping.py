"""Ends a fit whose metric gets no better."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from lightning_lp.callbacks.monitor import has_value, mode_of
from lightning_lp.evaluation.direction import Mode


class RunEarlyStopping(EarlyStopping):
    """Lightning's early stopping, but the mode follows the metric, and what was never measured stops nothing.

    Args:
        monitor: the metric.
        mode: ``min`` or ``max``: which of its values are better. Default: as the metric has it (a loss: ``min``).
        kwargs: as of ``EarlyStopping``.
    """

    def __init__(self, monitor: str, mode: Mode | None = None, **kwargs: Any) -> None:
        super().__init__(monitor, mode=mode_of("early_stopping", monitor, mode), **kwargs)

    @property
    def _legacy_state_key(self) -> str:  # type: ignore[override]
        """Where checkpoints of runs begun with Lightning's own class have the state."""
        return self.state_key.replace(type(self).__name__, EarlyStopping.__name__, 1)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Decides when to look. Lightning forgets that the interval between validations may be a time."""
        if self._check_on_train_epoch_end is None and not hasattr(trainer, "val_check_interval"):
            self._check_on_train_epoch_end = False
        super().setup(trainer, pl_module, stage)

    def _run_early_stopping_check(self, trainer: pl.Trainer) -> None:
        if not self.strict or has_value(trainer, "early_stopping", self.monitor):
            super()._run_early_stopping_check(trainer)
