"""Runs the command line as a user does, on small generated data."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_lp.commands.cli import LinkPredictionCLI, main

SCRIPTS = Path(__file__).parents[1] / "scripts"
QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=0",
]
SAGE = [
    "--model.encoder=sage",
    '--model.losses={"bce": 1.0}',
    "--model.lr_schedule=constant",
    "--model.lr=0.003",
    "--model.weight_decay=3e-5",
    "--data.sampling.num_neighbors=[20,10]",
    "--data.sampling.num_neighbors_of_movies=null",
]
"""The tutorial's model instead of the default one."""
SMALL = [
    "--model.encoder.hidden_channels=8",
    "--model.encoder.spectral_channels=8",
    "--data.batch_size=64",
    "--trainer.log_every_n_steps=1",
]


def fit(root: Path, *flags: str) -> LinkPredictionCLI:
    """``lightning-lp fit`` for two epochs; run folders go below the current folder."""
    return main(["fit", f"--data.root={root}", "--trainer.max_epochs=2", *QUIET, *SMALL, *flags])


def run_folders() -> list[Path]:
    """The run folders below the current folder, oldest first."""
    return sorted(Path("lightning_logs").iterdir(), key=lambda path: int(path.name.split("_")[1]))


def results(folder: Path) -> dict[str, Any]:
    """The ``results.json`` of a run."""
    return json.loads((folder / "results.json").read_text())


def best_checkpoint(folder: Path) -> Path:
    """The best checkpoint of a run."""
    (path,) = (path for path in (folder / "checkpoints").iterdir() if path.name != "last.ckpt")
    return path


def run_script(name: str, *flags: str) -> int:
    """Runs a script in this process. Returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *flags])
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0
