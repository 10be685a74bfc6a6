"""Saves in each checkpoint what Lightning leaves out, so that a stopped run goes on as if it had not stopped."""

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, StochasticWeightAveraging
from pytorch_lightning.trainer.states import TrainerFn

from lightning_lp.callbacks.checkpoints import run_folder
from lightning_lp.checkpointing.event_log import cut_logs, log_states, logs_of, open_logs
from lightning_lp.checkpointing.places import KEY
from lightning_lp.data.datamodule import data_of
from lightning_lp.data.settings import dotted
from lightning_lp.errors import UserError

_FREE = {
    *("root", "cache_dir", "movies_file", "ratings_file", "previous"),
    *("num_workers", "eval_batch_size", "predict_file"),
}
"""Settings of the data that may change: no batch of training depends on them."""


class Continuation(Callback):
    """Makes resuming exact: after ``--ckpt_path last`` each step is that of the uninterrupted run, bit for bit.

    Lightning restores weights, optimiser, progress, callbacks and, through ``LinkLoader``, the place in the epoch.
    This adds the sums behind the epoch's mean loss, the metrics of the last validation, the random numbers of each
    process, the decision to stop, and which run this is: its folder, and how far its logs were written.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None  # of a checkpoint that is being continued
        self._path: Any = None  # where it is
        self._logs: list[dict[str, Any]] = []
        self._run_id: str | None = f"{time.time_ns():x}-{os.getpid():x}"

    def open_logs(self, trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
        """Lets the logs of a fit tell which run they are of, and go on after those that are there.

        Args:
            trainer: its loggers have written nothing yet.
            checkpoint: from which the run goes on; empty for a new one.
        """
        if checkpoint:
            self._run_id = checkpoint.get(KEY, {}).get("id")
        open_logs(trainer.loggers, self._run_id, go_on=bool(checkpoint))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds to the checkpoint."""
        _settle(checkpoint["loops"]["fit_loop"])
        sums = self._state["ranks"][trainer.global_rank]["sums"] if self._state else _sums(trainer)
        mine: Any = {"sums": sums, "random": random_state()}
        ranks = [mine] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(ranks, mine)
        folder = run_folder(trainer)
        checkpoint[KEY] = {
            "id": self._run_id,
            "run": str(folder) if folder else None,
            "ranks": ranks,
            "metrics": {name: value.cpu() for name, value in trainer.callback_metrics.items()},
            "should_stop": trainer.should_stop,
            "logs": log_states(trainer) if trainer.is_global_zero else [],
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps what was saved until it is needed.

        Raises:
            UserError: the batches would be others than those of the run so far.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.optimizers:  # a search for the learning rate or the batch size, which goes back to where it began
            trainer._checkpoint_connector._ckpt_path = self._path
            return
        self._path = trainer.ckpt_path
        state = checkpoint.get(KEY)
        if state is None:
            raise UserError("this checkpoint was not written by a fit of the command line: train anew")
        data = data_of(trainer)
        if data is not None:
            check_settings_kept(checkpoint["datamodule_hyper_parameters"], dict(data.hparams))
        if len(state["ranks"]) != trainer.world_size:
            raise UserError(
                f"the run was trained by {len(state['ranks'])} processes, and here are {trainer.world_size}: continue "
                "it with as many (--trainer.devices, --trainer.num_nodes)"
            )
        self._state = state
        self._run_id = state.get("id")
        self._logs = logs_of(Path(str(trainer.ckpt_path)), checkpoint)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores what the loops look at first."""
        if self._state is not None:
            trainer.callback_metrics.update(self._state["metrics"])
            trainer.should_stop = self._state["should_stop"]
            if trainer.is_global_zero:
                cut_logs(trainer, self._logs, self._run_id)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets an average of weights go on in the middle of an epoch: Lightning would wait until the next begins."""
        for callback in trainer.callbacks if self._state is not None else ():  # type: ignore[attr-defined]
            if isinstance(callback, StochasticWeightAveraging) and callback._scheduler_state is not None:
                groups = trainer.optimizers[0].param_groups
                rates = [group["lr"] for group in groups]
                callback.on_train_epoch_start(trainer, pl_module)  # makes a schedule, which sets the first of its rates
                for group, rate in zip(groups, rates, strict=True):
                    group["lr"] = rate

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Restores the random numbers, at the very point where they were saved, and the step that is logged."""
        if self._state is not None:
            set_random_state(self._state["ranks"][trainer.global_rank]["random"])
            # Lightning guesses it from where it believes that the checkpoint was saved.
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Adds the sums of the epoch so far to those that the first batch began."""
        if self._state is not None:
            results = trainer.fit_loop.epoch_loop._results
            for key, (value, size) in self._state["ranks"][trainer.global_rank]["sums"].items():
                metric = results[key]
                metric.value = value.to(metric.value.device) + metric.value
                metric.cumulated_batch_size = size.to(metric.value.device) + metric.cumulated_batch_size
            self._state = None


def check_settings_kept(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Compares the settings of the data with those that a run was begun with.

    Raises:
        UserError: one differs that decides what a batch is.
    """
    then, now = dotted(then), dotted(now)
    for name in sorted(then.keys() & now.keys() - _FREE):
        if name[0] != "_" and then[name] != now[name]:
            raise UserError(
                f"--data.{name} {now[name]}: the run was begun with {then[name]}, and a run is continued with its own "
                "settings: leave the option out (--resume takes them all from the run), or train anew"
            )


def random_state() -> dict[str, Any]:
    """The state of all global random number generators, as plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, torch.tensor(keys, dtype=torch.int64), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restores what :func:`random_state` gave."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def _sums(trainer: pl.Trainer) -> dict[str, Any]:
    """Sum and weight of each mean over the epoch that is under way."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    if epochs.processed == epochs.ready:
        return {}
    return {
        key: (metric.value.cpu(), metric.cumulated_batch_size.cpu())
        for key, metric in trainer.fit_loop.epoch_loop._results.items()
        if metric.is_tensor and metric.meta.on_epoch and metric.meta.is_mean_reduction and not metric.has_reset
    }


def _settle(loop: dict[str, Any]) -> None:
    """Between two batches, leaves no trace of the one that is about to begin: Lightning would take it for done."""
    progress = loop["epoch_loop.batch_progress"]
    if progress["total"]["started"] == progress["total"]["completed"] != progress["total"]["ready"]:
        progress["is_last_batch"] = False
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
