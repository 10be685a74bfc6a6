"""Finds checkpoints, and loads what recommends: without Lightning, whose import takes longer than that."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.checkpointing.places import checkpoint_folder, is_last, located, run_of, run_state
from lightning_lp.checkpointing.results_file import recorded_checkpoint
from lightning_lp.checkpointing.resume import checkpoints_of
from lightning_lp.data.state import DATA_STATE
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Encoder, Sizes
from lightning_lp.model.encoders.registry import OLD_OPTIONS, make_encoder, with_old_options

_PREFIX = "encoder."
"""Of its weights, among those of the LightningModule."""


def load_encoder(path: Path | str) -> tuple[Encoder, dict[str, Any]]:
    """Loads the encoder in a checkpoint file, or in the best checkpoint of a run folder. Nothing in the file is run.

    Returns:
        The encoder, in evaluation mode, and the data that it knows as ``MovieLensDataModule.state_dict()`` gives it,
        with the ``settings`` of that data module.

    Raises:
        UserError: there is no such file, or it is damaged or not a checkpoint of ``lightning_lp``.
    """
    file = find_checkpoint(path)
    checkpoint = read_checkpoint(file)
    with only_own(file):
        hparams = checkpoint["hyper_parameters"]
        old = {name: value for name, value in hparams.items() if name in OLD_OPTIONS}
        encoder = make_encoder(with_old_options(hparams.get("encoder"), old))
        encoder.build(Sizes(**{field.name: hparams[field.name] for field in fields(Sizes) if field.name in hparams}))
        weights = checkpoint["state_dict"].items()
        encoder.load_state_dict({name.removeprefix(_PREFIX): w for name, w in weights if name.startswith(_PREFIX)})
        return encoder.eval(), {"settings": dict(checkpoint["datamodule_hyper_parameters"]), **checkpoint[DATA_STATE]}


@contextmanager
def only_own(file: Path) -> Iterator[None]:
    """Refuses a checkpoint for whatever its contents lead to.

    Raises:
        UserError: something was raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{file} is not a checkpoint of lightning_lp, or is damaged: give another") from error


def find_checkpoint(path: Path | str) -> Path:
    """The file itself, or the checkpoint that a run recommends: the best that it has kept.

    It is the one that ``results.json`` names, unless ``last.ckpt`` is further on, as in a run that was continued and
    then killed: then that which ``last.ckpt`` tells of.

    Raises:
        UserError: there is none, or there are several and nothing tells which.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder, a run folder or a checkpoint file is wanted")
    recorded, steps = _recorded(path)
    if best := _told_by_last(path, steps) or recorded:
        return best
    found = _best_checkpoints(path)  # written by an older version, or last.ckpt is gone
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(f"{path / 'checkpoints'} holds no one best checkpoint (found: {names}): name the file itself")
    return found[0]


def records_of(run: Path) -> Path:
    """The folder with the ``results.json`` of a run: its own, or, of a run without a logger, its checkpoints'."""
    beside = run / "checkpoints"
    return beside if not recorded_checkpoint(run) and recorded_checkpoint(beside) else run


def run_folder_of(path: Path) -> Path:
    """The run folder that was named, or that a checkpoint file belongs to; or the file's own, if it lies in none."""
    if path.is_dir():
        return records_of(path)
    try:
        return run_of(path, read_checkpoint(path, lazily=True))
    except UserError:
        return path.parent


def newest_run(logs: Path | str = "lightning_logs") -> Path:
    """The run folder in ``logs`` whose best checkpoint is the newest.

    Raises:
        UserError: there is no run with a checkpoint.
    """
    runs = [run for run in Path(logs).glob("*") if run.is_dir()]
    found = [
        (file.stat().st_mtime, run) for run in runs for file in [_recorded(run)[0], *_best_checkpoints(run)] if file
    ]
    if not found:
        raise UserError(f"there is no trained model in {logs}: name a run folder with --run, or train with fit")
    return max(found)[1]


def _recorded(run: Path) -> tuple[Path | None, int]:
    """The checkpoint that ``results.json`` names, if it is there, and after how many steps that was written."""
    folder = records_of(run)
    entry = recorded_checkpoint(folder)
    if entry is None or not (folder / entry["file"]).is_file():
        return None, -1
    return folder / entry["file"], entry["trained_steps"]


def _told_by_last(run: Path, steps: int) -> Path | None:
    """The best checkpoint as ``last.ckpt`` tells, if that was written after so many steps."""
    with suppress(UserError):  # its checkpoints are elsewhere, or the file is damaged
        file = max(filter(is_last, checkpoints_of(run)), key=lambda file: file.stat().st_mtime, default=None)
        content = read_checkpoint(file, lazily=True) if file else {"global_step": -1}
        state = run_state(content)
        best = state.get("best_model_path") if content["global_step"] > steps else None
        if file and best and (found := located(best, state["dirpath"], checkpoint_folder(file, content))):
            return Path(found)
    return None


def _best_checkpoints(run: Path) -> list[Path]:
    return sorted(file for file in run.glob("checkpoints/**/*.ckpt") if not file.name.startswith("last"))
