"""Which checkpoints a run keeps: the best by a metric, and ``last.ckpt``, from which training goes on."""

import os
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_lp.callbacks.monitor import has_value, mode_of, validates
from lightning_lp.errors import UserError
from lightning_lp.evaluation.direction import Mode
from lightning_lp.signals import DeferredSignals

LAST = "last.ckpt"


class RunCheckpoint(ModelCheckpoint):
    """Keeps the best epoch, and ``last.ckpt``, which is written between two batches.

    ``last.ckpt`` is written when an epoch begins, at the intervals below, at the end, and when SIGTERM or Ctrl-C stops
    the training (with exit status 143 or 130). An outdated best checkpoint is removed only after ``last.ckpt`` knows
    the new one, so that at any moment there is a file for all that ``last.ckpt`` tells of.

    Without validation the latest epoch is kept. A fit that ends before its first validation keeps what it ends with.

    Args:
        autosave_minutes: write ``last.ckpt`` whenever so many minutes have passed; 0: never.
        autosave_steps: write it also after so many steps; 0: never.
        monitor: the metric that chooses the best epoch. Null: the latest is kept.
        mode: ``min`` or ``max``: which of its values are better. Default: as the metric has it (a loss: ``min``).
        kwargs: as of ``ModelCheckpoint``. ``save_last`` false: no ``last.ckpt``.
    """

    def __init__(
        self,
        autosave_minutes: float = 5.0,
        autosave_steps: int = 0,
        monitor: str | None = None,
        mode: Mode | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(monitor=monitor, mode=mode_of("checkpoint", monitor, mode), **kwargs)
        for name, value in (("minutes", autosave_minutes), ("steps", autosave_steps)):
            if value < 0:
                raise UserError(f"--checkpoint.autosave_{name} {value}: 0 or more wanted")
        self._minutes, self._steps = autosave_minutes, autosave_steps
        self._signals = DeferredSignals()
        self._saved_at = 0.0
        self._saved_step = -1
        self._outdated: list[str] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets a continued run write its files again where the stopped one had."""
        if trainer.ckpt_path:
            self._enable_version_counter = False
        self._remove_outdated(trainer)  # what a killed run was about to remove

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, and takes SIGTERM and Ctrl-C."""
        super().on_train_start(trainer, pl_module)
        self._saved_at = time.monotonic()
        self._saved_step = trainer.global_step if trainer.ckpt_path else -1
        self._signals.install()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Writes ``last.ckpt`` if it is due, and stops if a signal asked for it.

        Raises:
            SystemExit: the signal's status.
        """
        if batch_idx % trainer.accumulate_grad_batches:
            return  # gradients are no part of a checkpoint
        signal = self._signal(trainer)
        if signal or self._is_due(trainer, batch_idx):
            self._write_last(trainer)
        if signal:
            self._stop(trainer, signal)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the end of a fit of which nothing is kept yet, and writes the last ``last.ckpt``."""
        if not (self.best_model_path or self._should_skip_saving_checkpoint(trainer)):
            ended = {"epoch": torch.tensor(max(0, trainer.current_epoch - 1))}  # Lightning has counted on
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer) | ended, is_over=True)
        self._write_last(trainer)
        self._signals.restore()
        if signal := self._signal(trainer):
            self._stop(trainer, signal)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        super().on_exception(trainer, pl_module, exception)
        self._signals.restore()

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and what is about to be removed."""
        return {**super().state_dict(), "outdated": list(self._outdated)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them, also in a run folder that was moved."""

        def here(path: str) -> str:
            moved = os.path.join(self.dirpath or "", os.path.basename(path))
            return moved if os.path.isfile(moved) else path

        paths = {name: here(state_dict[name]) for name in state_dict if name.endswith("_model_path")}
        models = {here(path): score for path, score in state_dict["best_k_models"].items()}
        self._outdated = [here(path) for path in state_dict.get("outdated", ())]
        super().load_state_dict({**state_dict, **paths, "best_k_models": models, "dirpath": self.dirpath})
        self.current_score = state_dict.get("current_score")  # of the last file; Lightning sets it with the next

    def _is_due(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        if trainer.global_step == self._saved_step:
            return False
        late = self._minutes > 0 and time.monotonic() - self._saved_at >= 60 * self._minutes
        if trainer.world_size > 1:
            late = trainer.strategy.broadcast(late)
        return bool(late or batch_idx == 0 or (self._steps > 0 and trainer.global_step % self._steps == 0))

    def _write_last(self, trainer: pl.Trainer) -> None:
        dry = getattr(trainer, "fast_dev_run", False)
        if self.save_last and not dry and trainer.global_step != self._saved_step:
            self.last_model_path = os.path.join(self.dirpath or "", LAST)
            trainer.save_checkpoint(self.last_model_path, self.save_weights_only)
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
            self._remove_outdated(trainer)

    def _remove_outdated(self, trainer: pl.Trainer) -> None:
        while self._outdated:
            super()._remove_checkpoint(trainer, self._outdated.pop())

    def _signal(self, trainer: pl.Trainer) -> int:
        """The signal that any process has received, or 0."""
        mine = self._signals.received or 0
        return mine if trainer.world_size == 1 else int(trainer.strategy.reduce(_int(mine, trainer), reduce_op="max"))

    def _stop(self, trainer: pl.Trainer, signal: int) -> None:
        if trainer.is_global_zero:
            kept = f": {self.last_model_path}, go on with --resume" if self.last_model_path else ""
            print(f"stopped at step {trainer.global_step}{kept}", file=sys.stderr, flush=True)
        raise SystemExit(128 + signal)

    def _save_topk_checkpoint(
        self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor], is_over: bool = False
    ) -> None:
        """Saves the best, or the latest where no validation will tell which is the best."""
        if self.monitor is not None and not has_value(trainer, "checkpoint", self.monitor):
            if self.save_top_k != 0 and (is_over or not validates(trainer)):
                self._save_none_monitor_checkpoint(trainer, monitor_candidates)
            return
        before, was_chosen = self.best_model_path, self.best_model_path in self.best_k_models
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        if self.monitor is not None and self.save_top_k > 0 and before and not was_chosen:
            self._let_go(trainer, before)

    def _save_none_monitor_checkpoint(self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Saves the latest epoch; ``save_top_k`` of more than one is for a metric that there is not."""
        before = self.best_model_path
        super()._save_none_monitor_checkpoint(trainer, monitor_candidates)
        if self.save_top_k > 1 and before:
            self._let_go(trainer, before)

    def _let_go(self, trainer: pl.Trainer, before: str) -> None:
        if self._should_remove_checkpoint(trainer, before, self.best_model_path):
            self._remove_checkpoint(trainer, before)

    def _should_remove_checkpoint(self, trainer: pl.Trainer, previous: str, current: str) -> bool:
        """Whether the new best is another file. Lightning would keep one that the run was continued from."""
        return os.path.abspath(previous) != os.path.abspath(current)

    def _remove_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        if self.save_last:
            self._outdated.append(filepath)
        else:
            super()._remove_checkpoint(trainer, filepath)

    def _save_last_checkpoint(self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Nothing: where Lightning would write ``last.ckpt``, the epoch is not logged to its end."""


def _int(value: int, trainer: pl.Trainer) -> Tensor:
    return Tensor([value]).to(trainer.strategy.root_device)
