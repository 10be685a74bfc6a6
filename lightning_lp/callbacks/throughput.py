"""Measures how many links a second are trained on."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from lightning_lp.data.schema import RATES


class Throughput(Callback):
    """Logs ``train/links_per_s``: links (without negatives) of all processes per second of training.

    Time spent in validation is not counted.

    Attributes:
        links: links trained on in this fit, by all processes.
        seconds: seconds spent on them.
    """

    def __init__(self) -> None:
        self.links = 0
        self.seconds = 0.0
        self._before = (0, 0.0)
        self._since: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, also of an epoch that is continued."""
        self._since = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._stop()
        self._before = (self.links, self.seconds)
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Counts the batch's links."""
        batch = args[1]
        self.links += batch[RATES].input_id.numel() * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock."""
        self._stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock again."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock and logs the epoch's figure."""
        self._stop()
        links, seconds = self.links - self._before[0], self.seconds - self._before[1]
        if seconds > 0:
            pl_module.log("train/links_per_s", links / seconds, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """What was counted so far, so that a continued fit goes on counting."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return {"links": self.links, "seconds": self.seconds + running, "before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what was counted."""
        self.links, self.seconds, self._before = (state_dict[name] for name in ("links", "seconds", "before"))

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None
