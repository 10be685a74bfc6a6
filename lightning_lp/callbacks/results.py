"""Writes ``results.json`` into the run folder, and what it says for people: ``model_card.md``."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from rich import box
from rich.console import Console
from rich.table import Table

from lightning_lp.callbacks.checkpoints import checkpoint_of, run_folder
from lightning_lp.callbacks.model_card import PARTS, Described, write_card
from lightning_lp.callbacks.monitor import validates
from lightning_lp.callbacks.throughput import Throughput
from lightning_lp.checkpointing.best_log import shown, write_best
from lightning_lp.checkpointing.event_log import suffix_of
from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.checkpointing.places import same
from lightning_lp.checkpointing.results_file import RESULTS_FILE, read_results, recorded_checkpoint, write_results
from lightning_lp.checkpointing.resume import CONFIG_FILE
from lightning_lp.data.datamodule import MovieLensDataModule, data_of
from lightning_lp.data.schema import RATES
from lightning_lp.data.settings import short_names
from lightning_lp.model.encoders.base import Encoder, Sizes
from lightning_lp.model.encoders.registry import short_name


class Results(Callback):
    """Collects what a run has to say of itself: data, split, metrics and timing.

    ``validation`` and ``test`` are those of ``validate`` and ``test`` (the command line runs them on the best
    checkpoint after a fit), never of the last epoch. Without a logger the file is beside the checkpoints of a fit.

    Args:
        throughput: the callback that counts the links of a fit.
    """

    def __init__(self, throughput: Throughput) -> None:
        self.results: dict[str, Any] = {}
        self.path: Path | None = None
        self._is_best = False  # whether they are those of a checkpoint
        self._throughput = throughput
        self._start, self._before = time.perf_counter(), 0.0
        self._step = 0  # of the weights that are validated and tested

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """How long the fit has taken, so that a continued one goes on counting, and which run it updates."""
        return {"fit_s": self._fit_s, "update": self.results.get("update")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self._before = state_dict["fit_s"]
        if (told := state_dict.get("update")) is not None:
            self.results["update"] = told

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers the step of the weights."""
        self._step = checkpoint["global_step"]

    @property
    def _fit_s(self) -> float:
        return self._before + time.perf_counter() - self._start

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the timing of a fit; the file is written with the metrics, and an older one stays until then.

        Without validation it is written now. What comes after the fit is measured under ``--trainer.barebones``, too.
        """
        data, throughput = data_of(trainer), self._throughput
        self._step = trainer.global_step
        self.results["timing"] = {
            "setup_s": round(data.setup_s, 3) if data else None,
            "fit_s": round(self._fit_s, 3),
            "epochs": trainer.current_epoch,
            "links_per_s": round(throughput.links / max(throughput.seconds, 1e-9), 1),
        }
        if kept := _kept(trainer):
            self.results["checkpoint"] = kept
        trainer.barebones = False
        if not validates(trainer):
            self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the validation metrics, unless this is a validation within a fit."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.results["validation"] = _metrics(trainer, "val/")
            encoder = getattr(pl_module, "encoder", None)
            if isinstance(encoder, Encoder) and encoder.chosen:
                self.results["chosen"] = encoder.chosen
            self._write(trainer)
            self._log_best(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the test metrics."""
        self.results["test"] = _metrics(trainer, "test/")
        self._write(trainer)
        self._log_best(trainer, pl_module)

    @rank_zero_only
    def _log_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After a fit, lets TensorBoard compare runs by their settings and the metrics of their best checkpoints."""
        if trainer.global_step == 0:
            return
        data, parts = data_of(trainer), {part: self.results[part] for part in PARTS if part in self.results}
        settings = {**pl_module.hparams, **(short_names(data.hparams) if data else {}), "precision": trainer.precision}
        public = dict(_flat({name: value for name, value in settings.items() if name[0] != "_"}))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                # Lightning logs a validation at the step before the one that it counts for the checkpoint.
                write_best(Path(logger.log_dir), public, parts, self._step - 1, suffix_of(logger))

    @rank_zero_only
    def show(self) -> None:
        """Prints the metrics so far, and where they are written."""
        parts = [part for part in PARTS if part in self.results]
        table = Table("best checkpoint" if self._is_best else "end of training", *parts, box=box.SIMPLE_HEAD)
        for name in self.results[parts[0]] if parts else ():
            table.add_row(name, *(shown(self.results[part].get(name)) for part in parts))
        console = Console()
        if parts:
            console.print(table)
        if self.path is not None:
            console.print(f"results: {self.path}", markup=False, highlight=False, soft_wrap=True)

    def _write(self, trainer: pl.Trainer) -> None:
        folder, data = run_folder(trainer), data_of(trainer)  # every process takes part in finding the folder
        if folder is None or data is None:
            return
        self._is_best = trainer.ckpt_path is not None
        results = describe(data) | self.results
        if "timing" not in results and (recorded := recorded_checkpoint(folder)):
            if not same(folder / recorded["file"], str(trainer.ckpt_path)):
                return  # it tells of the checkpoint that the run recommends, and this is another
            results = read_results(folder) | results
        self.path = folder / RESULTS_FILE
        rank_zero_only(write_results)(self.path, results)
        write_card(folder, results, _described(folder, trainer.lightning_module, data))


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings, those of a class after its name."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and "class_path" in value:
            yield name, value["class_path"].split(".")[-1]
            yield from value.get("init_args", {}).items()
        else:
            yield name, value


def _described(folder: Path, module: pl.LightningModule, data: MovieLensDataModule) -> Described:
    """What the model card tells beside the results."""
    settings, is_repeatable = dict(module.hparams), (folder / CONFIG_FILE).is_file()
    encoder, of_data = settings.get("encoder", {}), {"encoder", *(size.name for size in fields(Sizes))}
    return Described(
        name=folder.name,
        encoder=short_name(encoder.get("class_path", type(module).__name__)),
        settings={name: value for name, value in _flat(settings) if name[0] != "_" and name not in of_data},
        seed=data.hparams["seed"],
        command=f"lightning-lp fit --config {CONFIG_FILE}" if is_repeatable else None,
    )


def _kept(trainer: pl.Trainer) -> dict[str, Any] | None:
    """The checkpoint that the run recommends: the best, or of a run without validation the last."""
    checkpoint, folder = checkpoint_of(trainer), run_folder(trainer)
    file = (checkpoint and (checkpoint.best_model_path or checkpoint.last_model_path)) or ""
    if folder is None or checkpoint is None or not trainer.is_global_zero or not os.path.isfile(file):
        return None
    score = checkpoint.best_model_score if checkpoint.best_model_path else None
    return {
        "file": os.path.relpath(file, folder) if Path(file).is_relative_to(folder) else file,
        "monitor": checkpoint.monitor if score is not None else None,
        "score": float(score) if score is not None and math.isfinite(score) else None,
        "step": read_checkpoint(file, lazily=True)["global_step"],
        "trained_steps": trainer.global_step,
    }


def describe(data: MovieLensDataModule) -> dict[str, Any]:
    """The ``dataset`` and ``split`` of ``results.json``."""
    graph, split = data.graph, data.split
    return {
        "dataset": {
            "name": data.dataset_name,
            "users": len(graph.users),
            "movies": len(graph.movies),
            "links": graph.data[RATES].num_edges,
            "fingerprint": graph.fingerprint,
            "rows_read": data.tables.rows_read,
            "dropped": data.tables.dropped | data.below_min_rating,
            "movie_rows_read": data.tables.movie_rows_read,
            "movies_dropped": data.tables.movies_dropped,
        },
        "split": {
            "strategy": data.split_settings.strategy,
            "seed": data.split_settings.seed,
            "fingerprint": split.fingerprint,
            "train_links": split.train_links.size(1),
            "val_links": int(split.val[RATES].edge_label.sum()),
            "test_links": int(split.test[RATES].edge_label.sum()),
            "val_tied": data.tied["val"],
            "test_tied": data.tied["test"],
        },
    }


def _metrics(trainer: pl.Trainer, prefix: str) -> dict[str, float | None]:
    """The metrics of a part, by name; none where one is undefined."""
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): None if math.isnan(value) else value for name, value in logged.items()}
