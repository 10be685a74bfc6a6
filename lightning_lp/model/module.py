"""The LightningModule: loss, metrics and optimiser around the encoder and the classifier."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch_geometric.data import HeteroData
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryCalibrationError

from lightning_lp.data.handover import EMBEDDED, Handover, Reads
from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.data.state import DATA_STATE
from lightning_lp.errors import UserError
from lightning_lp.model.classifier import DotProductClassifier
from lightning_lp.model.encoders.base import NOTHING, Encoder, Sizes
from lightning_lp.model.encoders.carry import prepare_from
from lightning_lp.model.encoders.registry import make_encoder, short_name, spec_of, with_old_options
from lightning_lp.model.losses import LOSSES
from lightning_lp.model.metrics import Auroc, AveragePrecision, probabilities
from lightning_lp.model.rolling import embed_queries
from lightning_lp.model.schedule import WarmCosine
from lightning_lp.model.scores import BatchScores
from lightning_lp.model.settings import check_model
from lightning_lp.plain import make_plain

_PENALTY = 40.0
"""L2, of the sum of the losses of all training links."""


class LinkPredictionModule(pl.LightningModule):
    """Predicts links of users and movies: an encoder, and the dot product of two vectors as the logit of a link.

    Logs ``train/loss``, each part of it, ``train/lr`` and, over all labels of a split, ``val/loss`` (binary cross
    entropy), ``val/auroc``, ``val/average_precision`` and ``val/calibration_error`` (``test/...`` likewise).

    Args:
        num_users: number of user nodes. The command line takes it from the data.
        num_movies: number of movie nodes. From the data, too.
        num_features: number of genres. From the data, too.
        num_terms: number of terms of titles. From the data, too.
        max_terms: the most terms of one title. From the data, too.
        encoder: what embeds users and movies, with its own options: ``history`` (the default: a user is its movies),
            ``sage`` (the tutorial's: an embedding for each user and movie, and GraphSAGE in both directions), another
            short name that ``registry.py`` has, or the dotted path of your own. In Python an :class:`Encoder`, such a
            name, or a dictionary with ``class_path`` and ``init_args``.
        losses: weight of each loss in the sum that is minimised: ``bce``, ``softmax``, ``bpr``.
        user_exponent: losses of ranking weigh a link by its user's number of ratings to the power of minus this: at 0
            all links count the same, at 1 all users.
        lr: Adam's learning rate.
        lr_schedule: ``constant``, or ``cosine``: down to 0 over the whole training, after 10 steps of warm-up.
        weight_decay: Adam's L2 penalty. Default: 40 divided by the number of training links, where they come from our
            data module, and else 0: what is believed of weights beforehand counts the less the more there is to see.
        old_options: options of the encoder, as they were given before 0.2: ``hidden_channels``, ``num_layers`` and so
            on. Checkpoints of that time have them; they go to the encoder.

    Examples:
        >>> from lightning_lp import LinkPredictionModule
        >>> model = LinkPredictionModule(num_users=20, num_movies=30, num_features=3, encoder="sage")
        >>> type(model.encoder).__name__, model.encoder.options
        ('SageEncoder', {'hidden_channels': 64, 'num_layers': 2})
        >>> own = {"class_path": "lightgcn", "init_args": {"num_layers": 3}}
        >>> LinkPredictionModule(20, 30, 3, encoder=own).encoder.options
        {'hidden_channels': 64, 'num_layers': 3}
    """

    def __init__(
        self,
        num_users: int,
        num_movies: int,
        num_features: int,
        num_terms: int = 0,
        max_terms: int = 1,
        encoder: Encoder | None = None,
        losses: dict[str, float] = {"softmax": 1.0, "bce": 1.0},  # noqa: B006 (read only)
        user_exponent: float = 0.5,
        lr: float = 2e-3,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        weight_decay: float | None = None,
        **old_options: Any,
    ) -> None:
        super().__init__()
        made = make_encoder(with_old_options(encoder, old_options))
        self.save_hyperparameters(ignore=["encoder", *old_options], logger=False)
        self.hparams["encoder"] = spec_of(made)
        make_plain(self.hparams)
        check_model(self.hparams)
        self.encoder = made
        self.encoder.build(Sizes(num_users, num_movies, num_features, num_terms, max_terms))
        for parameter in self.encoder.calibration():
            parameter.requires_grad_("bce" in losses)  # nothing else depends on them: DDP would wait for gradients
        self.classifier = DotProductClassifier()
        self._lr = lr  # the base rate that the schedule has
        self._handover: Handover | None = None
        self._embedded: dict[int, tuple[Tensor, Tensor]] | None = None  # by graph, in an evaluation
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

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As Lightning's, but made from the hyper-parameters alone: the command line's parser knows no old ones."""
        return super().load_from_checkpoint(checkpoint_path, *args, **{"_instantiator": None, **kwargs})

    @property
    def reads(self) -> Reads:
        """What it reads of the graph."""
        encoder = self.encoder
        return Reads(
            encoder.num_neighbors,
            encoder.edge_types,
            encoder.edge_attrs,
            encoder.optional_edge_attrs,
            encoder.temporal_strategy,
            all_nodes=True,
            batches_per_user=encoder.batches_per_user,
            trains_on_messages=encoder.trains_on_messages,
        )

    def take_over(self, handover: Handover) -> None:
        """Gets the graphs of all parts from the data module."""
        self._handover = handover

    def setup(self, stage: str) -> None:
        """Before a fit, gives the encoder what it starts from. A checkpoint to resume from is loaded after this.

        Raises:
            UserError: the encoder starts from the graph, and there is no data module that has it; or a run is updated
                whose encoder is another.
        """
        if stage != "fit":
            return
        if self._handover is not None:
            told = self._handover.split.val, self._handover.neg_sampling_ratio
            if self._handover.start is None:
                self.encoder.prepare(*told)
            else:
                prepare_from(self.encoder, self._handover.start, *told)
        elif self.encoder.needs_graph:
            name = short_name(self.hparams["encoder"]["class_path"])
            raise UserError(
                f"the encoder {name} takes genres, titles and links from the data module, and a checkpoint its "
                "ids: give trainer.fit(model, datamodule=data) in place of loaders, or choose the encoder sage"
            )

    def forward(self, batch: HeteroData) -> Tensor:
        """Scores the links of a mini-batch: [num_labels] float32 logits.

        In training mode and in evaluation mode it is the same function, but for the encoder's dropout.
        """
        z_dict = self.encoder(batch)
        logits: Tensor = self.classifier(z_dict[USER], z_dict[MOVIE], batch[RATES].edge_label_index)
        return logits

    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Vectors of all users and all movies, as :meth:`Encoder.embed_all` gives them; once in an evaluation."""
        if self._embedded is None:  # weights may change
            return self.encoder.embed_all(graph)
        if id(graph) not in self._embedded:
            self._embedded[id(graph)] = self.encoder.embed_all(graph)
        return self._embedded[id(graph)]

    def embed_new(
        self, graph: HeteroData, edge_index: Tensor, num_users: int, edge_attrs: Mapping[str, Tensor] = NOTHING
    ) -> Tensor:
        """Vectors of new users, as :meth:`Encoder.embed_new` gives them; it is told no more than it reads."""
        encoder = self.encoder
        names = (*encoder.edge_attrs, *encoder.optional_edge_attrs)
        read = {name: value for name, value in edge_attrs.items() if name in names}
        return encoder.embed_new(graph, edge_index, num_users, **({"edge_attrs": read} if read else {}))

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
        self._embedded = None

    on_test_epoch_end = on_validation_epoch_end

    def on_validation_epoch_start(self) -> None:
        """Lets the encoder of a fit choose, and begins with empty metrics: of spawned processes these share memory."""
        if self._handover is not None and self._is_fitting():
            part = self._handover.split.val
            labels = part[RATES]
            self.encoder.choose_on_validation(part, labels.edge_label_index, labels.edge_label)
        self._embedded = {}
        self._reset_metrics()

    def on_test_epoch_start(self) -> None:
        """Begins with empty metrics."""
        self._embedded = {}
        self._reset_metrics()

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
            weight_decay=self._weight_decay,
            fused=not self.trainer.gradient_clip_val,
        )
        if self.hparams["lr_schedule"] == "constant":
            return optimizer
        schedule = WarmCosine(optimizer, lambda: self._num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def _weight_decay(self) -> float:
        if self.hparams["weight_decay"] is not None:
            return float(self.hparams["weight_decay"])
        return 0.0 if self._handover is None else _PENALTY / self._handover.split.train_links.size(1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets the data refuse a checkpoint that was trained on other data.

        Lightning restores weights before data: a size mismatch would come before the reason for it.
        """
        if self._handover is not None and DATA_STATE in checkpoint:
            self._handover.check(checkpoint[DATA_STATE])

    @property
    def _num_steps(self) -> float:
        """Steps of the whole training; infinite before the first, and without an end.

        ``Trainer.estimated_stepping_batches`` would make the loader at once, and a resumed run lose its place in it.
        """
        trainer = self.trainer
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches * (trainer.max_epochs or -1)
        limits = (steps, float(trainer.max_steps))
        return min((limit for limit in limits if limit > 0), default=math.inf)

    def _is_fitting(self) -> bool:
        return bool(self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking)

    def _reset_metrics(self) -> None:
        for metric in (self.val_metrics, self.val_loss, self.test_metrics, self.test_loss):
            metric.reset()

    def _scores(self, batch: HeteroData) -> BatchScores:
        return BatchScores(
            self.encoder.embed_for_training(batch),
            batch,
            self.classifier,
            self.encoder.catalogue(),
            self.hparams["user_exponent"],
            mean_over_processes=lambda value: self.trainer.strategy.reduce(value, reduce_op="mean"),
        )

    def _logits(self, batch: HeteroData) -> Tensor:
        """As :meth:`forward`; batches without messages name the part of the split whose nodes are embedded at once."""
        part = getattr(batch, EMBEDDED, None)
        if part is None or self._handover is None:
            return cast(Tensor, self(batch))
        graph, nodes, (user, movie) = self._handover.split.part(part), batch.node_id_dict, batch[RATES].edge_label_index
        user, movie = nodes[USER][user], nodes[MOVIE][movie]
        z_user, z_movie = self.embed_all(graph)
        if self._handover.history == "rolling":
            time = graph[RATES].edge_label_time[batch[RATES].input_id.cpu()]
            (users, time), user = torch.unique(torch.stack([user.cpu(), time]), dim=1, return_inverse=True)
            z_user = embed_queries(self, graph, users, time, self._handover.rating)
        links = torch.stack([user.to(movie.device), movie])
        return cast(Tensor, self.classifier(z_user, z_movie, links))

    def _evaluate(self, batch: HeteroData, stage: str, metrics: MetricCollection, mean_loss: MeanMetric) -> None:
        logits, label = self._logits(batch), batch[RATES].edge_label
        loss = F.binary_cross_entropy_with_logits(logits, label)
        # Lightning's own mean over processes divides by a truncated number of labels: a metric is exact.
        mean_loss.update(loss, weight=logits.numel())
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True)
        # Probabilities: given logits, torchmetrics guesses batch by batch whether they are any.
        metrics.update(probabilities(logits), label.long())
        for name, metric in metrics.items():
            self.log(name, metric, on_step=False, on_epoch=True, prog_bar=name == f"{stage}/auroc")
