"""Finds and loads checkpoints."""

from collections.abc import Mapping
from contextlib import suppress
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.checkpointing.places import checkpoint_folder, is_last, located, run_of, run_state
from lightning_lp.checkpointing.results_file import recorded_checkpoint
from lightning_lp.checkpointing.resume import checkpoints_of
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.settings import OF_CHECKPOINTS, grouped
from lightning_lp.data.state import DATA_STATE
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule


def load_checkpoint(path: Path | str) -> tuple[LinkPredictionModule, dict[str, Any]]:
    """Loads a checkpoint file, or the best checkpoint of a run folder. Nothing in the file is run.

    Returns:
        The model, in evaluation mode, and the data that it knows as ``MovieLensDataModule.state_dict()`` gives it, with
        the ``settings`` of that data module.

    Raises:
        UserError: there is no such file, or it is damaged or not a checkpoint of ``lightning_lp``.
    """
    module, settings, state = _load(find_checkpoint(path))
    return module, {"settings": settings, **state}


def _load(file: Path) -> tuple[LinkPredictionModule, dict[str, Any], dict[str, Any]]:
    """The model of a checkpoint, in evaluation mode, the settings of its data module and the data that it knows."""
    checkpoint = read_checkpoint(file)
    try:
        hparams = checkpoint["hyper_parameters"]
        module = LinkPredictionModule(**{name: hparams[name] for name in hparams if not name.startswith("_")})
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval(), dict(checkpoint["datamodule_hyper_parameters"]), dict(checkpoint[DATA_STATE])
    except UserError:
        raise
    except Exception as error:  # whatever its contents lead the model to
        raise UserError(f"{file} is not a checkpoint of lightning_lp, or is damaged: give another") from error


def load_run(
    path: Path | str, changes: Mapping[str, Any] = MappingProxyType({})
) -> tuple[MovieLensDataModule, LinkPredictionModule]:
    """Loads a checkpoint, and sets up the data that it was trained on, with the settings of that run.

    Args:
        path: run folder or checkpoint.
        changes: settings of the data module that replace the run's.

    Raises:
        UserError: there is no such run, or its data is not, or no longer, that which it was trained on.
    """
    file = find_checkpoint(path)
    module, settings, state = _load(file)
    known = signature(MovieLensDataModule).parameters
    settings = {name: value for name, value in grouped(OF_CHECKPOINTS, settings, changes).items() if name in known}
    if settings.get("root") is not None and not Path(settings["root"]).expanduser().is_dir():
        raise UserError(
            f"the data of {path} was read from {Path(settings['root']).absolute()}, which is no folder here: name it "
            "with --data.root DIR"
        )
    if settings.get("previous") is not None:
        settings["previous"] = str(file)  # it tells of users, movies and links what that run did, and is there
    data = MovieLensDataModule(**settings)
    data.setup()
    data.load_state_dict(state)
    return data, module


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
