"""Takes TensorBoard's files of a run back to where they stood at a checkpoint."""

import shutil
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_lp.atomic import sync
from lightning_lp.callbacks.best_log import remove_best

COMPARISON_SUFFIX = ".compare"
"""How the files end that ``compare`` adds: they are none of the training's."""


def log_sizes(trainer: pl.Trainer) -> dict[str, int]:
    """Name and size of each file of events, all of them on the disk."""
    sizes = {}
    for logger in _loggers(trainer):
        logger.experiment.flush()
        for path in _event_files(logger):
            sync(path)
            sizes[path.name] = path.stat().st_size
    return sizes


def cut_logs(trainer: pl.Trainer, sizes: dict[str, int]) -> None:
    """Removes what was logged after those sizes were taken; it is about to be logged again.

    A curve then has each step once, as if training had never stopped. The file that this process writes is left alone.
    """
    for logger in _loggers(trainer):
        mine = Path(logger.experiment.file_writer.event_writer._file_name).name
        for path in _event_files(logger):
            size = sizes.get(path.name)
            if path.name == mine:
                continue
            if size is None:
                path.unlink()
            elif path.stat().st_size > size:
                with path.open("r+b") as file:
                    file.truncate(size)
        folder = Path(logger.log_dir)
        (folder / "projector_config.pbtxt").unlink(missing_ok=True)  # written again after the fit
        shutil.rmtree(folder / "00000", ignore_errors=True)
        remove_best(folder)


def _loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def _event_files(logger: TensorBoardLogger) -> list[Path]:
    found = Path(logger.log_dir).glob("events.out.tfevents.*")
    return sorted(path for path in found if not path.name.endswith(COMPARISON_SUFFIX))
