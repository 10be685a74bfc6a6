"""Figures for the report and for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.evaluation.breakdown import Breakdown


def learning_figure(run: Path) -> Figure:
    """Losses and validation metrics over the steps of training, as the run's TensorBoard events tell."""
    events = EventAccumulator(str(run))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    figure = Figure(figsize=(11, 3.5), layout="constrained")
    panels = {
        "loss": ("train/loss", "val/loss"),
        "AUROC": ("val/auroc",),
        "ranking, first 20": ("val/recall@20", "val/ndcg@20"),
    }
    for axes, (title, names) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name in names:
            if name in tags:
                points = events.Scalars(name)
                axes.plot([point.step for point in points], [point.value for point in points], marker=".", label=name)
        axes.set(title=title, xlabel="step")
        if axes.lines:
            axes.legend()
    return figure


def breakdown_figure(breakdown: Breakdown, xlabel: str) -> Figure:
    """Grouped bars of recall, with the size of each bin below its label."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(breakdown.recall)
    for i, (name, recall) in enumerate(breakdown.recall.items()):
        place = [bin_ + (i + 0.5) * width - 0.4 for bin_ in range(len(recall))]
        axes.bar(place, [0.0 if value != value else value for value in recall], width, label=name)
    labels = [f"{label}\n({count:,})" for label, count in zip(breakdown.labels, breakdown.counts, strict=True)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlabel=xlabel, ylabel="recall@20")
    axes.legend()
    return figure


def recall_figure(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Recall of lists of 1, 2, ... movies, a line for each model."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        is_run = name == "this run"
        axes.plot(range(1, len(curve) + 1), curve, label=name, linewidth=3 if is_run else 1.2)
    axes.set(xlabel="k, movies in the list", ylabel="recall@k", xticks=(1, 5, 10, 15, 20))
    axes.legend()
    return figure
