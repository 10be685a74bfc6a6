"""Ranks the whole catalogue for every user after a validation or test, and logs how well."""

from typing import cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.datamodule import MovieLensDataModule, data_of
from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.evaluation.label_metrics import LABEL_METRICS, label_metrics
from lightning_lp.evaluation.queries import is_by_time
from lightning_lp.evaluation.ranking import means, rank_queries
from lightning_lp.evaluation.ranking_task import kept_task
from lightning_lp.evaluation.scoring import LabelScores, scorer_of


class RankingMetrics(Callback):
    """Logs ``val/recall@20``, ``val/ndcg@20`` and the other metrics of ``rank_users`` (``test/...`` likewise).

    Where the split is by time, ``val/label_mrr`` and ``val/user_auroc`` of ``label_metrics`` as well; what a user knows
    then follows ``data.split.history``. They can be monitored: they are logged before checkpoints are saved. Where an
    epoch has none, the last ones stand.

    Args:
        every_n_epochs: in a fit, ranks in the first epoch and every n-th after it; 0: never. ``validate`` and
            ``test`` always do.
        max_users: ranks for so many of the users (of their queries, where history is rolling), drawn uniformly, always
            the same ones. Default: all.
    """

    def __init__(self, every_n_epochs: int = 1, max_users: int | None = None) -> None:
        if every_n_epochs < 0:
            raise UserError(f"--ranking.every_n_epochs {every_n_epochs}: 0 or more wanted")
        if max_users is not None and max_users < 1:
            raise UserError(f"--ranking.max_users {max_users}: 1 or more wanted, or null for all")
        self.every_n_epochs, self.max_users = every_n_epochs, max_users

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a fit that watches what it never ranks."""
        watched = {getattr(callback, "monitor", None) for callback in trainer.callbacks}  # type: ignore[attr-defined]
        data, of_labels = data_of(trainer), sorted(f"val/{name}" for name in LABEL_METRICS if f"val/{name}" in watched)
        if stage == "fit" and data is not None and not data.is_by_time and of_labels:
            raise UserError(
                f"--data.split.strategy {data.split_settings.strategy} has no {of_labels[0]} to watch: "
                "watch val/auroc, or give a split by time (leave_last_out or temporal)"
            )
        ranked = sorted(n for n in watched if n and (n in of_labels or (n.startswith("val/") and "@" in n)))
        if stage == "fit" and self.every_n_epochs == 0 and ranked:
            raise UserError(
                f"--ranking.every_n_epochs 0 leaves no {ranked[0]} to watch: give --checkpoint.monitor val/auroc "
                "--early_stopping.monitor val/auroc as well"
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ranks validation's held-out movies; the training links are seen."""
        data, n = data_of(trainer), self.every_n_epochs
        span = trainer.check_val_every_n_epoch or 1  # epochs since the last validation, this one included
        is_due = trainer.state.fn != TrainerFn.FITTING or (n > 0 and trainer.current_epoch % n < span)
        if data is not None and is_due and not trainer.sanity_checking:
            self._log(trainer, pl_module, data, "val", data.split.val)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ranks test's held-out movies; training and validation links are seen."""
        data = data_of(trainer)
        if data is not None:
            self._log(trainer, pl_module, data, "test", data.split.test)

    def _log(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        data: MovieLensDataModule,
        stage: str,
        graph: HeteroData,
    ) -> None:
        history = data.split_settings.history
        score_queries = scorer_of(pl_module, graph, history, data.graph.data[RATES].get("rating"))
        if score_queries is None:
            return
        labels = LabelScores(graph, score_queries, history) if is_by_time(graph) else None
        task = kept_task(graph, data.graph.below_min_rating, self.max_users, history)
        ranking = rank_queries(task, labels or score_queries, trainer.global_rank, trainer.world_size)
        # Every process knows a part of the sums; the means are then the same in all of them.
        metrics = means({name: _summed(trainer, pl_module, total) for name, total in ranking.totals().items()})
        if labels is not None:
            metrics |= _of_labels(trainer, pl_module, graph, labels)
        logged = {f"{stage}/{name}": value for name, value in metrics.items()}
        pl_module.log_dict(logged, batch_size=1, sync_dist=trainer.world_size > 1)


def _summed(trainer: pl.Trainer, pl_module: pl.LightningModule, value: Tensor) -> Tensor:
    return cast(Tensor, trainer.strategy.reduce(value.to(pl_module.device), reduce_op="sum"))


def _of_labels(
    trainer: pl.Trainer, pl_module: pl.LightningModule, graph: HeteroData, labels: LabelScores
) -> dict[str, float]:
    """The metrics of the labels that any process has scored: a user's may be shared by several."""
    is_scored = _summed(trainer, pl_module, labels.is_scored.float()).cpu() > 0
    scores, store = _summed(trainer, pl_module, labels.scores).cpu()[is_scored], graph[RATES]
    label, time = store.edge_label[is_scored], store.edge_label_time[is_scored]
    return label_metrics(store.edge_label_index[:, is_scored], label, time, scores)
