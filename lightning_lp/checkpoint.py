"""Finds and loads checkpoints."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lightning_lp.callbacks.checkpoints import LAST
from lightning_lp.checkpoint_io import read_checkpoint
from lightning_lp.data.datamodule import MovieLensDataModule
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
    path = find_checkpoint(path)
    checkpoint = read_checkpoint(path)
    try:
        hparams = checkpoint["hyper_parameters"]
        module = LinkPredictionModule(**{name: hparams[name] for name in hparams if not name.startswith("_")})
        module.load_state_dict(checkpoint["state_dict"])
        settings = checkpoint.get("datamodule_hyper_parameters", {})
        return module.eval(), {"settings": settings, **checkpoint[MovieLensDataModule.__qualname__]}
    except Exception as error:  # whatever its contents lead the model to
        raise UserError(f"{path} is not a checkpoint of lightning_lp, or is damaged: give another") from error


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
    module, state = load_checkpoint(path)
    settings = read_checkpoint(find_checkpoint(path))["datamodule_hyper_parameters"]
    known = signature(MovieLensDataModule).parameters
    data = MovieLensDataModule(**{name: settings[name] for name in known if name in settings} | dict(changes))
    data.setup()
    data.load_state_dict(state)
    return data, module


def find_checkpoint(path: Path | str) -> Path:
    """The file itself, or the best checkpoint of a run folder: the one that is not ``last.ckpt``.

    Raises:
        UserError: there is none, or there are several.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder, a run folder or a checkpoint file is wanted")
    found = _best_checkpoints(path)
    if len(found) > 1 and (last := path / "checkpoints" / LAST).is_file():  # a killed run: last.ckpt knows which is it
        states = read_checkpoint(last).get("callbacks", {}).values()
        best = {Path(state["best_model_path"]).name for state in states if "best_model_path" in state}
        found = [file for file in found if file.name in best] or found
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(f"{path / 'checkpoints'} holds no one best checkpoint (found: {names}): name the file itself")
    return found[0]


def newest_run(logs: Path | str = "lightning_logs") -> Path:
    """The run folder in ``logs`` whose best checkpoint is the newest.

    Raises:
        UserError: there is no run with a checkpoint.
    """
    found = [file for run in Path(logs).glob("*") for file in _best_checkpoints(run)]
    if not found:
        raise UserError(f"there is no trained model in {logs}: name a run folder with --run, or train with fit")
    return max(found, key=lambda file: file.stat().st_mtime).parent.parent


def _best_checkpoints(run: Path) -> list[Path]:
    return sorted(file for file in run.glob("checkpoints/*.ckpt") if not file.name.startswith("last"))
