"""Writes the scores of ``predict`` into a CSV file."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lightning_lp.atomic import replacing
from lightning_lp.data.datamodule import data_of
from lightning_lp.escape import cells, visible

PREDICTIONS_FILE = "predictions.csv"


class PredictionWriter(Callback):
    """Writes one row for each pair of ``--data.predict_file``, in its order and with its ids as written there.

    But for ids that a spreadsheet or a terminal would obey, see :func:`~lightning_lp.escape.cell`. The probability of a
    pair with an unknown id is left empty.

    Args:
        path: the file to write. Default: ``predictions.csv`` in the run folder.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier run's scores."""
        self._batches.clear()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: tuple[Tensor, Tensor], *args: Any
    ) -> None:
        """Keeps a batch's scores."""
        self._batches.append((outputs[0].cpu(), outputs[1].cpu()))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gathers the scores of all processes and writes the file, whole or not at all."""
        path = Path(self.path or Path(trainer.log_dir or trainer.default_root_dir, PREDICTIONS_FILE))
        parts: list[list[tuple[Tensor, Tensor]]] = [self._batches]
        if trainer.world_size > 1:
            parts = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(parts, self._batches)
        data = data_of(trainer)
        if data is None or not trainer.is_global_zero:
            return
        batches = [batch for part in parts for batch in part]
        row, probability = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
        pairs, columns = data.pairs, data.columns
        table = pd.DataFrame({columns.user: pairs.user_text, columns.movie: pairs.movie_text})
        table.loc[pairs.row, "probability"] = probability[row.argsort()].numpy()
        with replacing(path) as partial:
            cells(table).to_csv(partial, index=False, float_format="%.9g")
        empty = len(table) - len(pairs.row)
        left = f"; {empty:,} pairs with unknown ids left empty (first: {pairs.first_unknown})" if empty else ""
        print(visible(f"{len(pairs.row):,} scores written to {path}{left}"))
