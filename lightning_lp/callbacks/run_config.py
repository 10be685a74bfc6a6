"""Writes ``config.yaml`` into the run folder."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.cli import SaveConfigCallback

from lightning_lp.atomic import replacing


class RunConfig(SaveConfigCallback):
    """Saves the settings of a run, whole or not at all, and without the checkpoint that it was continued from.

    So the file begins the same run anew, whether or not it was ever stopped.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Writes the file, once."""
        folder = trainer.log_dir  # every process takes part in finding it
        if self.already_saved or folder is None:
            return
        self.already_saved = True
        if trainer.is_global_zero:
            config = self.config.clone()
            config["ckpt_path"] = None
            with replacing(Path(folder) / self.config_filename) as partial:
                partial.write_text(self.parser.dump(config, skip_none=False), encoding="utf-8")
