"""Writes ``results.json`` into the run folder."""

import json
import math
import time
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

from lightning_lp.atomic import replacing
from lightning_lp.callbacks.monitor import validates
from lightning_lp.callbacks.throughput import Throughput
from lightning_lp.data.datamodule import MovieLensDataModule, data_of
from lightning_lp.data.schema import RATES

RESULTS_FILE = "results.json"


class Results(Callback):
    """Collects what a run has to say of itself: data, split, metrics and timing.

    ``validation`` and ``test`` are those of ``validate`` and ``test`` (the command line runs them on the best
    checkpoint after a fit), never of the last epoch. Without a logger there is no run folder and no file.

    Args:
        throughput: the callback that counts the links of a fit.
    """

    def __init__(self, throughput: Throughput) -> None:
        self.results: dict[str, Any] = {}
        self.path: Path | None = None
        self._is_best = False  # whether they are those of a checkpoint
        self._throughput = throughput
        self._start, self._before = time.perf_counter(), 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """How long the fit has taken, so that a continued one goes on counting."""
        return {"fit_s": self._fit_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self._before = state_dict["fit_s"]

    @property
    def _fit_s(self) -> float:
        return self._before + time.perf_counter() - self._start

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the timing of a fit; the file is written with the metrics, and an older one stays until then.

        Without validation it is written now. What comes after the fit is measured under ``--trainer.barebones``, too.
        """
        data, throughput = data_of(trainer), self._throughput
        self.results["timing"] = {
            "setup_s": round(data.setup_s, 3) if data else None,
            "fit_s": round(self._fit_s, 3),
            "epochs": trainer.current_epoch,
            "links_per_s": round(throughput.links / max(throughput.seconds, 1e-9), 1),
        }
        trainer.barebones = False
        if not validates(trainer):
            self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the validation metrics, unless this is a validation within a fit."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.results["validation"] = _metrics(trainer, "val/")
            self._write(trainer)
            if trainer.global_step > 0:
                self._log_hyperparameters(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the test metrics."""
        self.results["test"] = _metrics(trainer, "test/")
        self._write(trainer)

    @rank_zero_only
    def _log_hyperparameters(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets TensorBoard compare runs by their settings and the metrics of their best checkpoints."""
        data = data_of(trainer)
        settings = {**pl_module.hparams, **(data.hparams if data else {}), "precision": trainer.precision}
        plain = {name: str(value) for name, value in settings.items() if value is not None and name[0] != "_"}
        found = self.results["validation"].items()
        metrics = {f"best/{name}": value for name, value in found if value is not None}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(plain, metrics)

    @rank_zero_only
    def show(self) -> None:
        """Prints the metrics so far, and where they are written."""
        parts = [part for part in ("validation", "test") if part in self.results]
        table = Table("best checkpoint" if self._is_best else "end of training", *parts, box=box.SIMPLE_HEAD)
        for name in self.results[parts[0]] if parts else ():
            table.add_row(name, *(_shown(self.results[part].get(name)) for part in parts))
        console = Console()
        if parts:
            console.print(table)
        if self.path is not None:
            console.print(f"results: {self.path}", markup=False, highlight=False, soft_wrap=True)

    def _write(self, trainer: pl.Trainer) -> None:
        if trainer.logger is None:
            return
        folder, data = trainer.log_dir, data_of(trainer)  # every process takes part in finding the folder
        self._is_best = trainer.ckpt_path is not None
        if folder is not None and data is not None:
            self.path = Path(folder) / RESULTS_FILE
            write_results(self.path, describe(data) | self.results)


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
            "strategy": data.hparams["split"],
            "seed": data.hparams["split_seed"],
            "fingerprint": split.fingerprint,
            "train_links": split.train_links.size(1),
            "val_links": int(split.val[RATES].edge_label.sum()),
            "test_links": int(split.test[RATES].edge_label.sum()),
        },
    }


@rank_zero_only
def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(results, indent=2) + "\n")


def _metrics(trainer: pl.Trainer, prefix: str) -> dict[str, float | None]:
    """The metrics of a part, by name; none where one is undefined."""
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): None if math.isnan(value) else value for name, value in logged.items()}


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
