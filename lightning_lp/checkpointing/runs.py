"""Loads a run as it was trained: the LightningModule, and the data with the settings of that run."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.checkpointing.finding import find_checkpoint, only_own
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.settings import OF_CHECKPOINTS, grouped
from lightning_lp.data.state import DATA_STATE
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule


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
    checkpoint = read_checkpoint(file)
    with only_own(file):
        hparams = checkpoint["hyper_parameters"]
        module = LinkPredictionModule(**{name: hparams[name] for name in hparams if not name.startswith("_")})
        module.load_state_dict(checkpoint["state_dict"])
        settings, state = dict(checkpoint["datamodule_hyper_parameters"]), dict(checkpoint[DATA_STATE])
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
    return data, module.eval()
