"""Which checkpoints a run keeps: the best by a metric, and ``last.ckpt``, from which training goes on."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from lightning_lp.callbacks.monitor import has_value, mode_of, validates
from lightning_lp.checkpointing.checkpoint_io import DurableCheckpointIO
from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.checkpointing.places import KEY, LAST, checkpoint_folder, relocated, run_state
from lightning_lp.checkpointing.signals import DeferredSignals
from lightning_lp.errors import UserError
from lightning_lp.evaluation.direction import Mode


class RunCheckpoint(ModelCheckpoint):
    """Keeps the best epoch, and ``last.ckpt``, which is written between two batches.

    ``last.ckpt`` is written when an epoch begins, at the intervals below, at the end, and when SIGTERM or Ctrl-C stops
    the training (with exit status 143 or 130). An outdated best checkpoint is removed only after ``last.ckpt`` knows
    the new one, so that at any moment there is a file for all that ``last.ckpt`` tells of. In a folder with the
    checkpoints of other runs, those are left alone: ``last.ckpt`` is then called ``last-v1.ckpt``.

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
        self._continued: tuple[str | None] | None = None  # what is known of the run that is continued
        self.run_folder: str | None = None

    def continue_in(self, run: Path, folder: Path) -> None:
        """Lets a continued run keep its folders, whatever logger it has now.

        Args:
            run: where ``config.yaml`` and ``results.json`` are.
            folder: where the checkpoints are; they go on there unless a ``dirpath`` is given.
        """
        self.run_folder = str(run)
        self.dirpath = self.dirpath or str(folder)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Finds the folders; their paths hold wherever the run is continued from."""
        super().setup(trainer, pl_module, stage)
        self.dirpath = os.path.abspath(self.dirpath or "")
        logs = _log_folder(trainer)  # every process takes part in finding it
        if stage == "fit" and self.run_folder is None and not getattr(trainer, "fast_dev_run", False):
            self.run_folder = logs or self.dirpath

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Removes what a killed run was about to remove."""
        self._remove_outdated(trainer)

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

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets each ``ModelCheckpoint``, of the user's too, find its files in a run that was moved or copied.

        They may remove those alone that lie in a folder of their own now, and none of the original of a copy.
        """
        if trainer.state.fn == TrainerFn.FITTING and trainer.optimizers:
            return  # a search for a setting, which goes back to where it began
        self._continued = (_run_id(checkpoint),)
        here, origin = checkpoint_folder(Path(str(trainer.ckpt_path)), checkpoint), run_state(checkpoint).get("dirpath")
        states, io = checkpoint["callbacks"], trainer.strategy.checkpoint_io
        for callback in trainer.checkpoint_callbacks:
            if origin and isinstance(callback, ModelCheckpoint) and (state := states.get(callback.state_key)):
                found = relocated(state, origin, here, str(callback.dirpath), callback.mode)
                states[callback.state_key], inside = trainer.strategy.broadcast(found)
                if isinstance(io, DurableCheckpointIO):
                    io.take_over(inside)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})
        self._outdated = list(state_dict.get("outdated", ()))
        self.current_score = state_dict.get("current_score")  # of the last file; Lightning sets it with the next

    def file_exists(self, filepath: str | Path, trainer: pl.Trainer) -> bool:
        """Whether another name is needed. What a stopped run wrote after its ``last.ckpt`` is written again."""
        is_there = super().file_exists(filepath, trainer)
        if not is_there or self._continued is None or str(filepath) in self.best_k_models:
            return is_there
        is_own = trainer.is_global_zero and _written_by(Path(filepath)) in (self._continued, None)
        return not trainer.strategy.broadcast(is_own)

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
            self.last_model_path = self.last_model_path or self._free_last(trainer)
            trainer.save_checkpoint(self.last_model_path, self.save_weights_only)
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
            self._remove_outdated(trainer)

    def _free_last(self, trainer: pl.Trainer) -> str:
        path, version = os.path.join(self.dirpath or "", LAST), 0
        while self.file_exists(path, trainer):
            version += 1
            path = os.path.join(self.dirpath or "", f"last-v{version}.ckpt")
        return path

    def _remove_outdated(self, trainer: pl.Trainer) -> None:
        while self._outdated:
            super()._remove_checkpoint(trainer, self._outdated.pop())

    def _signal(self, trainer: pl.Trainer) -> int:
        """The signal that any process has received, or 0."""
        mine = self._signals.received or 0
        return mine if trainer.world_size == 1 else int(trainer.strategy.reduce(_int(mine, trainer), reduce_op="max"))

    def _stop(self, trainer: pl.Trainer, signal: int) -> None:
        if trainer.is_global_zero:
            kept = f": {self.last_model_path}, go on with --resume {self.run_folder}" if self.last_model_path else ""
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
        """Whether the new best is another file here. Lightning would keep one that the run was continued from."""
        is_here = os.path.abspath(previous).startswith(os.path.join(self.dirpath or "", ""))
        return is_here and os.path.abspath(previous) != os.path.abspath(current)

    def _remove_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        if self.save_last:
            self._outdated.append(filepath)
        else:
            super()._remove_checkpoint(trainer, filepath)

    def _save_last_checkpoint(self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Nothing: where Lightning would write ``last.ckpt``, the epoch is not logged to its end."""


def checkpoint_of(trainer: pl.Trainer) -> RunCheckpoint | None:
    """The callback that decides which checkpoint a run recommends, whichever others the user adds."""
    return next((one for one in trainer.checkpoint_callbacks if isinstance(one, RunCheckpoint)), None)


def run_folder(trainer: pl.Trainer) -> Path | None:
    """Where ``config.yaml`` and ``results.json`` are: beside the logs; of a run without such, beside its checkpoints.

    Returns:
        None where nothing is kept, as of an evaluation without a logger. Every process takes part.
    """
    logs, checkpoint = _log_folder(trainer), checkpoint_of(trainer)
    folder = (checkpoint and checkpoint.run_folder) or logs
    return Path(folder) if folder else None


def _log_folder(trainer: pl.Trainer) -> str | None:
    """The folder of the first logger, if it makes one for each run."""
    folder, first = trainer.log_dir, next(iter(trainer.loggers), None)
    return os.path.abspath(folder) if folder and isinstance(first, TensorBoardLogger | CSVLogger) else None


def _written_by(file: Path) -> tuple[str | None] | None:
    """The run that wrote a checkpoint; nothing if it cannot be read."""
    try:
        return (_run_id(read_checkpoint(file, lazily=True)),)
    except UserError:
        return None


def _run_id(checkpoint: dict[str, Any]) -> str | None:
    """What tells a run from others in the same folder; older versions wrote no such thing."""
    run_id: str | None = checkpoint.get(KEY, {}).get("id")
    return run_id


def _int(value: int, trainer: pl.Trainer) -> Tensor:
    return Tensor([value]).to(trainer.strategy.root_device)
