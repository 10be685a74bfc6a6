"""Draws how well scores tell links from non-links, for TensorBoard."""

from typing import Any

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics.classification import BinaryAUROC
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc
from torchmetrics.utilities import dim_zero_cat

from lightning_lp.data.datamodule import data_of
from lightning_lp.data.schema import RATES
from lightning_lp.evaluation.scoring import score_query_labels, scorer_of
from lightning_lp.model.metrics import has_both
from lightning_lp.model.module import LinkPredictionModule

_POINTS = 1000
"""Of a curve, about."""


class Curves(Callback):
    """After each validation and test: ROC, precision-recall and reliability curves, and scores by label.

    Of a test that follows a fit, the precision-recall curve alone: TensorBoard would open on the figures of one step,
    and not on the curves of the fit.
    """

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the curves of validation; after a fit, those of its best checkpoint are there already."""
        if not _follows_fit(trainer) and not trainer.sanity_checking:
            _draw(trainer, "val", pl_module)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the curves of test."""
        _draw(trainer, "test", pl_module, with_figures=not _follows_fit(trainer))


def _follows_fit(trainer: pl.Trainer) -> bool:
    return trainer.state.fn != TrainerFn.FITTING and trainer.global_step > 0


def _draw(trainer: pl.Trainer, stage: str, pl_module: pl.LightningModule, with_figures: bool = True) -> None:
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if not loggers or (found := _scores(trainer, stage, pl_module)) is None:
        return
    probability, label = found
    # Of one class alone, or of scores that are no numbers, there is no curve.
    if not trainer.is_global_zero or not has_both(label) or not probability.isfinite().all():
        return
    step = trainer.global_step
    for logger in loggers:
        writer = logger.experiment
        writer.add_pr_curve(f"{stage}/precision_recall", label, probability, step)
        if with_figures:
            writer.add_figure(f"{stage}/curves", curves_figure(probability, label), step)
            writer.add_histogram(f"{stage}/score_of_links", probability[label == 1], step)
            writer.add_histogram(f"{stage}/score_of_non_links", probability[label == 0], step)


def _scores(trainer: pl.Trainer, stage: str, pl_module: pl.LightningModule) -> tuple[Tensor, Tensor] | None:
    """Probabilities and labels of a part, [num_labels] each: of our module those of its metrics, or computed anew."""
    if isinstance(pl_module, LinkPredictionModule):
        auroc = (pl_module.val_metrics if stage == "val" else pl_module.test_metrics)["auroc"]
        assert isinstance(auroc, BinaryAUROC)
        with auroc.sync_context():  # gathers the scores of all processes: every process takes part
            return _all(auroc.preds), _all(auroc.target)
    data = data_of(trainer)
    if data is None or (graph := data.split.held_out.get(stage)) is None:
        return None
    history = data.split_settings.history
    score_queries = scorer_of(pl_module, graph, history, data.graph.data[RATES].get("rating"))
    if score_queries is None:
        return None
    return score_query_labels(graph, score_queries, history).sigmoid(), graph[RATES].edge_label.long()


def _all(state: Any) -> Tensor:
    """A metric's state, a list of tensors until processes are synchronised, as one tensor."""
    return dim_zero_cat(state).cpu()


def curves_figure(probability: Tensor, label: Tensor) -> Figure:
    """Four panels: ROC, precision against recall, reliability, and the scores of links and non-links.

    Args:
        probability: [num_labels] float32 scores from 0 to 1.
        label: [num_labels] int64, 1 for a link and 0 for a non-link.
    """
    figure = Figure(figsize=(14, 3.5))
    # Fixed margins: to find them, each figure would be drawn several times.
    margins = {"left": 0.045, "right": 0.99, "bottom": 0.15, "top": 0.9, "wspace": 0.28}
    roc, precision_recall, reliability, scores = figure.subplots(1, 4, gridspec_kw=margins)
    false_positive, true_positive, _ = binary_roc(probability, label)
    roc.plot(*_thinned(false_positive, true_positive))
    roc.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    precision, recall, _ = binary_precision_recall_curve(probability, label)
    precision_recall.plot(*_thinned(recall, precision))
    precision_recall.axhline(float(label.float().mean()), color="gray", linestyle=":", linewidth=1)
    precision_recall.set(title="precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    predicted, observed = reliability_curve(probability, label)
    reliability.plot(predicted, observed, marker="o")
    reliability.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1)
    reliability.set(title="reliability", xlabel="predicted probability", ylabel="share of links")
    for value, name in ((1, "links"), (0, "non-links")):
        of_label = probability[label == value].numpy()
        scores.hist(of_label, bins=50, range=(0, 1), histtype="stepfilled", alpha=0.6, label=name)
    scores.set(title="scores by label", xlabel="predicted probability", ylabel="labels")
    scores.legend(loc="upper center")  # where it is free takes long to find
    return figure


def _thinned(*values: Tensor) -> list[Tensor]:
    """As many points of a curve as a panel has room for: matplotlib takes as long for a point that nobody sees."""
    step = max(1, values[0].numel() // _POINTS)
    return [torch.cat([each[:-1:step], each[-1:]]) for each in values]


def reliability_curve(probability: Tensor, label: Tensor, num_bins: int = 10) -> tuple[Tensor, Tensor]:
    """What was predicted and what came true, in bins of equal width; empty bins are left out.

    DeGroot and Fienberg, "The comparison and evaluation of forecasters", The Statistician 1983.

    Args:
        probability: [num_labels] float32 from 0 to 1.
        label: [num_labels], 1 for a link and 0 for a non-link.
        num_bins: number of bins.

    Returns:
        Mean predicted probability and share of links of each bin, float64, in the order of the bins.
    """
    which = (probability * num_bins).long().clamp(0, num_bins - 1)
    count, predicted, links = (
        torch.bincount(which, weights=weights, minlength=num_bins)
        for weights in (torch.ones_like(probability).double(), probability.double(), label.double())
    )
    is_filled = count > 0
    return (predicted / count)[is_filled], (links / count)[is_filled]
