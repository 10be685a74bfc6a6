"""Stops a training whose numbers mean nothing any more, before they reach a checkpoint."""

from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.datamodule import data_of
from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.errors import UserError

_SHOWN = 3


class FiniteNumbers(Callback):
    """Ends a fit with one sentence if the loss is not finite, or if a metric is undefined that decides something.

    The loss is looked at before the weights change, so no checkpoint can hold what came of it.
    """

    def __init__(self) -> None:
        self._batch: HeteroData | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Keeps the batch in sight."""
        self._batch = args[0]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Looks at the loss of a training batch.

        Raises:
            UserError: it is not finite.
        """
        if not torch.isfinite(loss):
            where = f"step {trainer.global_step} (epoch {trainer.current_epoch})"
            _stop(trainer, f"the training loss is {loss.item()} at {where}, in the batch with {self._links(trainer)}")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Lets the batch go."""
        self._batch = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the loss, and at what early stopping and the choice of the best checkpoint look at.

        Raises:
            UserError: the loss is not finite, or one of those metrics is undefined.
        """
        if trainer.sanity_checking or not (trainer.training or trainer.validating):
            return
        metrics = trainer.callback_metrics
        if not torch.isfinite(metrics.get("val/loss", torch.tensor(0.0))):
            _stop(trainer, f"the validation loss is {float(metrics['val/loss'])} after step {trainer.global_step}")
        for name in sorted({callback.monitor for callback in _deciding(trainer) if callback.monitor}):
            if name in metrics and torch.isnan(metrics[name]):
                raise UserError(
                    f"{name} is undefined on these validation labels (are they all links, or all non-links?), so it "
                    "can choose no checkpoint: choose by --checkpoint.monitor val/loss and --early_stopping.monitor "
                    "val/loss, or validate on more labels"
                )

    def _links(self, trainer: pl.Trainer) -> str:
        """Some of the batch's links, by their ids."""
        batch, data = self._batch, data_of(trainer)
        if batch is None or data is None:
            return "unknown links"
        store = batch[RATES]
        user, movie = store.edge_label_index[:, store.edge_label > 0].cpu()
        users = data.graph.users.ids[batch[USER].node_id.cpu()[user[:_SHOWN]].numpy()]
        movies = data.graph.movies.ids[batch[MOVIE].node_id.cpu()[movie[:_SHOWN]].numpy()]
        shown = ", ".join(f"user {u} - movie {m}" for u, m in zip(users, movies, strict=True))
        return shown + (f" and {len(user) - _SHOWN} more links" if len(user) > _SHOWN else "")


def _deciding(trainer: pl.Trainer) -> list[EarlyStopping | ModelCheckpoint]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, EarlyStopping | ModelCheckpoint)]


def _stop(trainer: pl.Trainer, what: str) -> NoReturn:
    checkpoint = trainer.checkpoint_callback
    last = checkpoint.last_model_path if isinstance(checkpoint, ModelCheckpoint) else ""
    raise UserError(
        f"{what}; the last good checkpoint is {last or 'none'}: lower --model.lr, or leave out --trainer.precision "
        "if it is lower than 32"
    )
