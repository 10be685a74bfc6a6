"""The LightningModule: loss, metrics and optimiser around the encoder and the classifier."""

import math
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import NodeType
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryCalibrationError

from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.errors import UserError
from lightning_lp.model.classifier import DotProductClassifier
from lightning_lp.model.encoders.embed import embed_all
from lightning_lp.model.encoders.history import HistoryEncoder
from lightning_lp.model.encoders.sage import HeteroEncoder
from lightning_lp.model.losses import LOSSES
from lightning_lp.model.metrics import Auroc, AveragePrecision
from lightning_lp.model.schedule import WarmCosine
from lightning_lp.model.scores import BatchScores
from lightning_lp.model.settings import check_model
from lightning_lp.plain import make_plain


class LinkPredictionModule(pl.LightningModule):
    """Predicts links of users and movies: embeddings, heterogeneous GraphSAGE, dot product.

    Logs ``train/loss``, each part of it, ``train/lr`` and, over all labels of a split, ``val/loss`` (binary cross
    entropy), ``val/auroc``, ``val/average_precision`` and ``val/calibration_error`` (``test/...`` likewise).

    Args:
        num_users: number of user nodes. The command line takes it from the data.
        num_movies: number of movie nodes. From the data, too.
        num_features: number of genres. From the data, too.
        num_terms: number of terms of titles, which only the encoder ``history`` reads. From the data, too.
        max_terms: the most terms of one title. From the data, too.
        num_layers: number of GraphSAGE layers. The command line takes the number of hops sampled.
        encoder: ``history`` (the default: a user is its movies) or ``sage`` (the tutorial's: an embedding for
            each user and movie, and GraphSAGE in both directions).
        losses: weight of each loss in the sum that is minimised: ``bce``, ``softmax``, ``bpr``.
        hidden_channels: width of embeddings and layers.
        dropout: of the encoder ``history``: share of the channels of a history that are dropped in training.
        spectral_channels: of ``history``: width of the linear part; 0: none.
        spectral_weight: of ``history``: weight of the linear part.
        spectral_l2: of ``history``: penalty of the linear part.
        temperature: of ``history``: what scores are divided by in evaluation.
        user_exponent: losses of ranking weigh a link by its user's number of ratings to the power of minus this: at 0
            all links count the same, at 1 all users.
        lr: Adam's learning rate.
        lr_schedule: ``constant``, or ``cosine``: down to 0 over the whole training, after 10 steps of warm-up.
        weight_decay: Adam's L2 penalty.
    """

    embeds_all_nodes = True
    """Tells the data module that evaluation embeds all nodes once: its batches then carry labels alone."""

    def __init__(
        self,
        num_users: int,
        num_movies: int,
        num_features: int,
        num_terms: int = 0,
        max_terms: int = 1,
        num_layers: int = 1,
        encoder: Literal["history", "sage"] = "history",
        losses: dict[str, float] = {"softmax": 1.0, "bce": 1.0},  # noqa: B006 (read only)
        hidden_channels: int = 96,
        dropout: float = 0.0,
        spectral_channels: int = 768,
        spectral_weight: float = 10.0,
        spectral_l2: float = 150.0,
        temperature: float = 1.5,
        user_exponent: float = 0.5,
        lr: float = 1e-3,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        weight_decay: float = 2e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        make_plain(self.hparams)
        check_model(self.hparams)
        self.encoder: HeteroEncoder | HistoryEncoder
        if encoder == "sage":
            self.encoder = HeteroEncoder(num_users, num_movies, num_features, hidden_channels, num_layers)
        else:
            self.encoder = HistoryEncoder(
                num_movies,
                num_features,
                num_terms,
                max_terms,
                hidden_channels,
                dropout=dropout,
                spectral_channels=spectral_channels,
                spectral_weight=spectral_weight,
                spectral_l2=spectral_l2,
                temperature=temperature,
            )
            for parameter in (self.encoder.activity, self.encoder.constant):
                parameter.requires_grad_("bce" in losses)  # nothing else depends on them: DDP would wait for gradients
        self.classifier = DotProductClassifier()
        self._lr = lr  # the base rate that the schedule has
        self._embeddings: tuple[Tensor, Tensor] | None = None
        metrics = MetricCollection(
            {
                "auroc": Auroc(),
                "average_precision": AveragePrecision(),
                "calibration_error": BinaryCalibrationError(n_bins=10, norm="l1"),
            }
        )
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy=math.nan) for _ in range(2))  # NaN must be seen

    def setup(self, stage: str) -> None:
        """Before a fit, gives the encoder what it starts from. A checkpoint to resume from is loaded after this.

        Raises:
            UserError: the encoder starts from genres, titles and links, and there is no data module that has them.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(self.encoder, HistoryEncoder):
            if not hasattr(data, "graph"):
                raise UserError(
                    "the encoder history takes genres, titles and links from the data module, and a checkpoint its "
                    "ids: give trainer.fit(model, datamodule=data) in place of loaders, or choose the encoder sage"
                )
            movies = data.graph.data[MOVIE]
            ratio = data.hparams["eval_neg_sampling_ratio"]
            self.encoder.start_from(movies.x, movies.terms, data.split.train_links, data.num_users, ratio)

    def forward(self, batch: HeteroData) -> Tensor:
        """Scores the links of a mini-batch: [num_labels] float32 logits."""
        z_dict = self._embed(batch)
        logits: Tensor = self.classifier(z_dict[USER], z_dict[MOVIE], batch[RATES].edge_label_index)
        return logits

    def on_fit_start(self) -> None:
        """Follows a learning rate finder, which has set ``hparams.lr``."""
        schedule = self.lr_schedulers()
        if self.hparams["lr"] != self._lr and isinstance(schedule, WarmCosine):
            schedule.restart_from(self.hparams["lr"])
        self._lr = self.hparams["lr"]

    def on_train_batch_start(self, batch: HeteroData, batch_idx: int) -> None:
        """The same for one that looks in the middle of a fit."""
        self.on_fit_start()

    def training_step(self, batch: HeteroData, batch_idx: int) -> Tensor:
        """Weighted sum of the losses of a batch."""
        scores = self._scores(batch)
        parts = {name: LOSSES[name](scores) for name in self.hparams["losses"]}
        loss = torch.stack([self.hparams["losses"][name] * part for name, part in parts.items()]).sum()
        size = scores.label.numel()
        if len(parts) > 1:
            named = {f"train/{name}": part for name, part in parts.items()}
            self.log_dict(named, batch_size=size, on_step=False, on_epoch=True, sync_dist=True)
        self.log("train/loss", loss, batch_size=size, on_step=False, on_epoch=True, sync_dist=True, prog_bar=True)
        self.log("train/loss_step", loss, batch_size=size, sync_dist=True)
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def on_validation_epoch_end(self) -> None:
        """Lets the vectors of all nodes go, after the callbacks have used them."""
        self._embeddings = None

    on_test_epoch_end = on_validation_epoch_end

    def on_validation_epoch_start(self) -> None:
        """Begins with empty metrics: in processes that were spawned they share their memory until then."""
        self._embeddings = None
        for metric in (self.val_metrics, self.val_loss, self.test_metrics, self.test_loss):
            metric.reset()

    on_test_epoch_start = on_validation_epoch_start

    def embeddings(self, stage: str) -> tuple[Tensor, Tensor]:
        """Vectors of all users and all movies, embedded with all neighbours, once in an evaluation.

        Args:
            stage: ``val`` or ``test``: whose messages are used.
        """
        if self._embeddings is None:
            self._embeddings = embed_all(self.encoder, getattr(self.trainer.datamodule.split, stage))  # type: ignore[attr-defined]
        return self._embeddings

    def validation_step(self, batch: HeteroData, batch_idx: int) -> None:
        """Adds a batch to the validation metrics."""
        self._evaluate(batch, "val", self.val_metrics, self.val_loss)

    def test_step(self, batch: HeteroData, batch_idx: int) -> None:
        """Adds a batch to the test metrics."""
        self._evaluate(batch, "test", self.test_metrics, self.test_loss)

    def predict_step(self, batch: HeteroData, batch_idx: int) -> tuple[Tensor, Tensor]:
        """The number of each pair of a batch and the probability of its link, [num_labels] each."""
        return batch[RATES].input_id, self(batch).sigmoid()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam over all parameters, in one pass over the memory (``fused``) unless gradients are clipped.

        Under mixed precision Lightning refuses to clip for a fused optimiser.
        """
        self._lr = self.hparams["lr"]
        optimizer = torch.optim.Adam(
            self.parameters(),
            lr=self.hparams["lr"],
            weight_decay=self.hparams["weight_decay"],
            fused=not self.trainer.gradient_clip_val,
        )
        if self.hparams["lr_schedule"] == "constant":
            return optimizer
        schedule = WarmCosine(optimizer, lambda: self._num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets the data refuse a checkpoint that was trained on other data.

        Lightning restores weights before data: a size mismatch would come before the reason for it.
        """
        data = getattr(self._trainer, "datamodule", None)
        state = checkpoint.get(type(data).__qualname__)
        if data is not None and state is not None:
            data.load_state_dict(state)

    @property
    def _num_steps(self) -> float:
        """Steps of the whole training; infinite before the first, and without an end.

        ``Trainer.estimated_stepping_batches`` would make the loader at once, and a resumed run lose its place in it.
        """
        trainer = self.trainer
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches * (trainer.max_epochs or -1)
        limits = (steps, float(trainer.max_steps))
        return min((limit for limit in limits if limit > 0), default=math.inf)

    def _embed(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        z_dict: dict[NodeType, Tensor] = self.encoder(
            batch.node_id_dict,
            batch.collect("x", allow_empty=True),
            batch.edge_index_dict,
            batch.num_sampled_nodes_dict,
            batch.num_sampled_edges_dict,
        )
        return z_dict

    def _scores(self, batch: HeteroData) -> BatchScores:
        return BatchScores(
            self._embed(batch),
            batch,
            self.classifier,
            self.encoder.catalogue() if isinstance(self.encoder, HistoryEncoder) else None,
            self.hparams["user_exponent"],
            mean_over_processes=lambda value: self.trainer.strategy.reduce(value, reduce_op="mean"),
        )

    def _logits(self, batch: HeteroData, stage: str) -> Tensor:
        """As :meth:`forward`; the batches of our data module carry messages only where neighbours are sampled."""
        if not getattr(getattr(self.trainer, "datamodule", None), "embeds_once", False):
            return cast(Tensor, self(batch))
        nodes, (user, movie) = batch.node_id_dict, batch[RATES].edge_label_index
        z_user, z_movie = self.embeddings(stage)
        links = torch.stack([nodes[USER][user], nodes[MOVIE][movie]])
        return cast(Tensor, self.classifier(z_user, z_movie, links))

    def _evaluate(self, batch: HeteroData, stage: str, metrics: MetricCollection, mean_loss: MeanMetric) -> None:
        logits, label = self._logits(batch, stage), batch[RATES].edge_label
        loss = F.binary_cross_entropy_with_logits(logits, label)
        # Lightning's own mean over processes divides by a truncated number of labels: a metric is exact.
        mean_loss.update(loss, weight=logits.numel())
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True)
        # Probabilities: given logits, torchmetrics guesses batch by batch whether they are any.
        metrics.update(logits.sigmoid(), label.long())
        for name, metric in metrics.items():
            self.log(name, metric, on_step=False, on_epoch=True, prog_bar=name == f"{stage}/auroc")
