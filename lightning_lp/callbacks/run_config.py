"""Writes ``config.yaml`` into the run folder."""

import os

import pytorch_lightning as pl
from pytorch_lightning.cli import SaveConfigCallback

from lightning_lp.atomic import replacing
from lightning_lp.callbacks.checkpoints import run_folder
from lightning_lp.data.datamodule import absolute_paths


class RunConfig(SaveConfigCallback):
    """Saves the settings of a run, whole or not at all, and without the checkpoint that it was continued from.

    So the file begins the same run anew, whether or not it was ever stopped, and from any folder. It is written when
    nothing is left that could be refused: a run that is not continued keeps its settings.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Nothing: a checkpoint may still be refused."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the file, once."""
        folder = run_folder(trainer)  # every process takes part in finding it
        if self.already_saved or folder is None:
            return
        self.already_saved = True
        if trainer.is_global_zero:
            config = self.config.clone()
            config["ckpt_path"] = None
            for name, path in absolute_paths(config["data"]).items():
                config["data"][name] = path
            if (dirpath := config.get("checkpoint.dirpath")) is not None:
                config["checkpoint.dirpath"] = os.path.abspath(dirpath)
            with replacing(folder / self.config_filename) as partial:
                partial.write_text(self.parser.dump(config, skip_none=False), encoding="utf-8")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As for a fit."""
        self.on_fit_start(trainer, pl_module)

    on_test_start = on_predict_start = on_validation_start
