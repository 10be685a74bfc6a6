"""Takes the logs of a run, TensorBoard's events and CSVLogger's rows, back to where they stood at a checkpoint."""

import csv
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from lightning_lp.atomic import replacing, sync
from lightning_lp.checkpointing.best_log import remove_best
from lightning_lp.checkpointing.places import KEY, checkpoint_folder, followed, run_state, same

COMPARISON_SUFFIX = ".compare"
"""How the files end that ``compare`` adds: they are none of the training's."""


def log_states(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """Kind and folder of each logger, and how far its files were written, all of it on the disk."""
    return [
        {"kind": type(logger).__name__, "folder": str(folder) if folder else None, "files": _amounts(logger)}
        for logger in trainer.loggers
        for folder in [_folder(logger)]
    ]


def logs_of(checkpoint: Path, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What :func:`log_states` gave, with the folders where they are now; none if they are those of another run."""
    logs = content.get(KEY, {}).get("logs") or []
    here = checkpoint_folder(checkpoint, content)
    origin = run_state(content).get("dirpath") or str(here)
    if isinstance(logs, dict):  # written by an older version, which continued a logger in the run folder alone
        logs = [{"kind": None, "folder": os.path.dirname(origin), "files": logs}]
    return [{**log, "folder": log["folder"] and followed(log["folder"], origin, here)} for log in logs]


def cut_logs(trainer: pl.Trainer, logs: Sequence[Mapping[str, Any]], run_id: str | None) -> None:
    """Removes what this run logged after that; it is about to be logged again.

    A curve then has each step once, as if training had never stopped. What other runs logged in the folder, and the
    file that this process writes, are left alone.

    Args:
        trainer: its loggers are looked at, and of them those that are continued in place.
        logs: as :func:`logs_of` gives them.
        run_id: how the files of events end that the run has written.
    """
    for logger in trainer.loggers:
        folder = _folder(logger)
        for log in logs:
            is_kind = log["kind"] in (None, type(logger).__name__)
            if not folder or not log["folder"] or not is_kind or not same(folder, log["folder"]):
                continue
            if isinstance(logger, TensorBoardLogger):
                _cut_events(logger, log["files"], run_id)
            elif isinstance(logger, CSVLogger):
                _cut_rows(Path(logger.experiment.metrics_file_path), log["files"])


def open_logs(loggers: Sequence[Logger], run_id: str | None, *, go_on: bool) -> None:
    """Lets files of events, none of which is open yet, tell which run they are of, and a table go on if it is there."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger) and run_id is not None:
            logger._kwargs["filename_suffix"] = suffix_of(logger) + _suffix(run_id)
        elif isinstance(logger, CSVLogger) and go_on:
            _open_rows(logger)


def suffix_of(logger: TensorBoardLogger) -> str:
    """How the files of events end that a logger writes."""
    return str(logger._kwargs.get("filename_suffix", ""))


def _suffix(run_id: str | None) -> str:
    return f".{run_id}" if run_id else ""


@rank_zero_only
def _open_rows(logger: CSVLogger) -> None:
    """Keeps the rows that are there, which a CSVLogger would delete."""
    with TemporaryDirectory() as empty:
        writer = ExperimentWriter(empty)
    os.makedirs(logger.log_dir, exist_ok=True)
    writer.log_dir = logger.log_dir
    writer.metrics_file_path = os.path.join(logger.log_dir, writer.NAME_METRICS_FILE)
    if os.path.isfile(writer.metrics_file_path):
        with open(writer.metrics_file_path, newline="") as file:
            writer.metrics_keys = next(csv.reader(file), [])
    logger._experiment = writer


def _folder(logger: Logger) -> Path | None:
    """The folder that a logger makes for each run, where it is known how to go on in it."""
    if not isinstance(logger, TensorBoardLogger | CSVLogger):
        return None
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(os.path.abspath(os.path.join(logger.save_dir, logger.name, version)))


def _amounts(logger: Logger) -> dict[str, int]:
    """Bytes of each file of events; rows of a table, whose header may still grow."""
    amounts = {}
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.flush()
        for path in _event_files(logger):
            sync(path)
            amounts[path.name] = path.stat().st_size
    elif isinstance(logger, CSVLogger):
        logger.save()
        path = Path(logger.experiment.metrics_file_path)
        if path.is_file():
            sync(path)
            amounts[path.name] = len(_rows(path)) - 1
    return amounts


def _cut_events(logger: TensorBoardLogger, sizes: Mapping[str, int], run_id: str | None) -> None:
    mine = Path(logger.experiment.file_writer.event_writer._file_name).name
    folder, is_shared = Path(logger.log_dir), False
    for path in _event_files(logger):
        is_own = path.name.endswith(_suffix(run_id)) if run_id else re.fullmatch(r"version_\d+", folder.name)
        if path.name in sizes:
            if path.stat().st_size > sizes[path.name]:
                with path.open("r+b") as file:
                    file.truncate(sizes[path.name])
        elif path.name != mine and is_own:
            path.unlink()
        elif path.name != mine:
            is_shared = True
    if run_id or not is_shared:
        remove_best(folder, _suffix(run_id))
    if not is_shared:
        (folder / "projector_config.pbtxt").unlink(missing_ok=True)  # written again after the fit
        shutil.rmtree(folder / "00000", ignore_errors=True)


def _cut_rows(path: Path, counts: Mapping[str, int]) -> None:
    rows = _rows(path) if path.is_file() else []
    if len(rows) > (kept := counts.get(path.name, 0) + 1):
        with replacing(path) as partial, partial.open("w", newline="") as file:
            csv.writer(file).writerows(rows[:kept])


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def _event_files(logger: TensorBoardLogger) -> list[Path]:
    found = Path(logger.log_dir).glob("events.out.tfevents.*")
    return sorted(path for path in found if not path.name.endswith(COMPARISON_SUFFIX))


def continued_loggers(loggers: Any, settings: Any, logs: Sequence[Mapping[str, Any]], run: Path) -> Any:
    """The loggers of a continued run: each goes on in the folder that it had.

    Args:
        loggers: as the Trainer takes them, made with the run's settings; true or none: the default.
        settings: class and arguments of each.
        logs: kind and folder of those that the run had; no folder: it is that of another run, whose copy this is.
        run: the run folder, of the default logger.

    Returns:
        What the Trainer takes. A logger of another kind than TensorBoard's and CSVLogger is left as it is.
    """
    if loggers in (None, True):
        return TensorBoardLogger(run.parent.parent, run.parent.name, run.name)
    if not loggers:
        return loggers
    left, found = list(logs), []
    pairs = zip(loggers, settings, strict=True) if isinstance(loggers, list) else [(loggers, settings)]
    for logger, setting in pairs:
        kind = type(logger)
        log = next((log for log in left if log["kind"] in (None, kind.__name__)), None)
        if kind not in (TensorBoardLogger, CSVLogger) or log is None:
            found.append(logger)
            continue
        left.remove(log)
        options = {**setting.init_args, **setting.get("dict_kwargs", {}), **_in_folder(log["folder"])}
        found.append(kind(**options))
        if log["folder"] is None:
            note = (
                f"{kind.__name__} begins anew in {found[-1].log_dir}: its folder is that of the run this is a copy of"
            )
            print(f"note: {note}", file=sys.stderr)
    return found


def _in_folder(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {"version": None}
    return {"save_dir": str(folder.parent.parent), "name": folder.parent.name, "version": folder.name}
