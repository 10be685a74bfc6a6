"""The LightningModule: loss, metrics and optimiser around the encoder and the classifier."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch_geometric.data import HeteroData
from torchmetrics import MeanMetric, MetricCollection

from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.model.classifier import DotProductClassifier
from lightning_lp.model.encoder import HeteroEncoder
from lightning_lp.model.metrics import Auroc, AveragePrecision


class LinkPredictionModule(pl.LightningModule):
    """Predicts links of users and movies: embeddings, heterogeneous GraphSAGE, dot product.

    Trained with binary cross entropy on links and sampled negatives. Logs ``train/loss``, ``train/lr`` and, over
    all labels of a split, ``val/loss``, ``val/auroc`` and ``val/average_precision`` (``test/...`` likewise).

    Args:
        num_users: number of user nodes. The command line takes it from the data.
        num_movies: number of movie nodes. From the data, too.
        num_features: width of the movies' features. From the data, too.
        num_layers: number of GraphSAGE layers. The command line takes the number of hops sampled.
        hidden_channels: width of embeddings and layers.
        lr: Adam's learning rate.
        weight_decay: Adam's L2 penalty.
    """

    def __init__(
        self,
        num_users: int,
        num_movies: int,
        num_features: int,
        num_layers: int = 2,
        hidden_channels: int = 64,
        lr: float = 3e-3,
        weight_decay: float = 3e-5,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.encoder = HeteroEncoder(num_users, num_movies, num_features, hidden_channels, num_layers)
        self.classifier = DotProductClassifier()
        metrics = MetricCollection({"auroc": Auroc(), "average_precision": AveragePrecision()})
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))  # NaN must be seen

    def forward(self, batch: HeteroData) -> Tensor:
        """Scores the links of a mini-batch: [num_labels] float32 logits."""
        z_dict = self.encoder(
            batch.node_id_dict,
            batch.collect("x", allow_empty=True),
            batch.edge_index_dict,
            batch.num_sampled_nodes_dict,
            batch.num_sampled_edges_dict,
        )
        logits: Tensor = self.classifier(z_dict[USER], z_dict[MOVIE], batch[RATES].edge_label_index)
        return logits

    def training_step(self, batch: HeteroData, batch_idx: int) -> Tensor:
        """Mean binary cross entropy of a batch."""
        loss, logits = self._loss(batch)
        size = logits.numel()
        self.log("train/loss", loss, batch_size=size, on_step=False, on_epoch=True, sync_dist=True, prog_bar=True)
        self.log("train/loss_step", loss, batch_size=size)
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def validation_step(self, batch: HeteroData, batch_idx: int) -> None:
        """Adds a batch to the validation metrics."""
        self._evaluate(batch, "val", self.val_metrics, self.val_loss)

    def test_step(self, batch: HeteroData, batch_idx: int) -> None:
        """Adds a batch to the test metrics."""
        self._evaluate(batch, "test", self.test_metrics, self.test_loss)

    def predict_step(self, batch: HeteroData, batch_idx: int) -> tuple[Tensor, Tensor]:
        """The number of each pair of a batch and the probability of its link, [num_labels] each."""
        return batch[RATES].input_id, self(batch).sigmoid()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"], weight_decay=self.hparams["weight_decay"])

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Logs as Lightning does, but keeps the validation that follows a fit out of the fit's learning curves."""
        if self.trainer.state.fn == TrainerFn.VALIDATING and self.trainer.global_step > 0:
            kwargs["logger"] = False
        super().log(*args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets the data refuse a checkpoint that was trained on other data.

        Lightning restores weights before data: a size mismatch would come before the reason for it.
        """
        data = getattr(self._trainer, "datamodule", None)
        state = checkpoint.get(type(data).__qualname__)
        if data is not None and state is not None:
            data.load_state_dict(state)

    def _loss(self, batch: HeteroData) -> tuple[Tensor, Tensor]:
        logits = self(batch)
        return F.binary_cross_entropy_with_logits(logits, batch[RATES].edge_label), logits

    def _evaluate(self, batch: HeteroData, stage: str, metrics: MetricCollection, mean_loss: MeanMetric) -> None:
        loss, logits = self._loss(batch)
        # Lightning's own mean over processes divides by a truncated number of labels: a metric is exact.
        mean_loss.update(loss, weight=logits.numel())
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True)
        # Probabilities: given logits, torchmetrics guesses batch by batch whether they are any.
        metrics.update(logits.sigmoid(), batch[RATES].edge_label.long())
        for name, metric in metrics.items():
            self.log(name, metric, on_step=False, on_epoch=True, prog_bar=name == f"{stage}/auroc")
