"""One self-contained page about a run: settings, curves, comparison, and where the model wins."""

import base64
import io
import json
import os
from collections.abc import Iterable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.callbacks.curves import curves_figure
from lightning_lp.callbacks.data_report import SPLIT_COLUMNS, data_summary, split_rows
from lightning_lp.callbacks.results import RESULTS_FILE
from lightning_lp.callbacks.samples import genres_text, sample_positions
from lightning_lp.checkpoint import find_checkpoint, load_run
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.evaluation.baselines import BASELINES, link_matrix
from lightning_lp.evaluation.breakdown import Breakdown, by_movie_popularity, by_user_activity
from lightning_lp.evaluation.embed import dot_products, embed_all
from lightning_lp.evaluation.ranking import Ranking, RankingTask, rank_users, ranking_task
from lightning_lp.model.module import LinkPredictionModule

REPORT_FILE = "report.html"
COMPARISON_FILE = "comparison.json"
_BESIDE = ("popularity", "ItemKNN")
"""Baselines that recall is broken down for: quick to fit on any catalogue."""


def write_report(run: Path) -> Path:
    """Writes ``report.html`` into a run folder, whole or not at all.

    Everything is computed from the best checkpoint on the validation part, except the metrics of ``results.json``.

    Args:
        run: the run folder. Its data must be where it was.

    Returns:
        The file.

    Raises:
        UserError: the folder is no finished run, or its data is not the data it was trained on.
    """
    if not (run / RESULTS_FILE).is_file():
        raise UserError(f"{run} has no {RESULTS_FILE}: name the folder of a finished run with --run")
    module, data = load_run(run)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(files("lightning_lp.evaluation").joinpath("report.html").read_text("utf-8"))
    page = template.render(_content(run, module, data))
    path = run / REPORT_FILE
    partial_path = path.with_suffix(".partial")
    partial_path.write_text(page, encoding="utf-8")
    os.replace(partial_path, path)
    return path


def _content(run: Path, module: LinkPredictionModule, data: MovieLensDataModule) -> dict[str, Any]:
    z_user, z_movie = embed_all(module, data.split.val)
    task = ranking_task(data.split.val, data.graph.below_min_rating)
    rankings = {"this run": rank_users(task, dot_products(z_user, z_movie)), **_baseline_rankings(data, task)}
    num_raters = torch.bincount(data.split.val[RATES].edge_index[1], minlength=data.num_movies)
    user, movie = data.split.val[RATES].edge_label_index
    logits = (z_user[user] * z_movie[movie]).sum(dim=1)
    comparison = run / COMPARISON_FILE
    return {
        "run": run.resolve().name,
        "checkpoint": find_checkpoint(run).name,
        "summary": data_summary(data),
        "is_sample": data.dataset_name == "synthetic-sample",
        "results": json.loads((run / RESULTS_FILE).read_text()),
        "comparison": json.loads(comparison.read_text()) if comparison.is_file() else None,
        "split_columns": SPLIT_COLUMNS,
        "split_rows": split_rows(data.split),
        "learning": _picture(learning_figure(run)),
        "curves": _picture(curves_figure(logits.sigmoid(), data.split.val[RATES].edge_label.long())),
        "by_movie": _picture(breakdown_figure(by_movie_popularity(task, rankings, num_raters), "raters of the movie")),
        "by_user": _picture(breakdown_figure(by_user_activity(task, rankings), "movies the user has rated")),
        "samples": list(_samples(data, task, rankings["this run"])),
        "config": (run / "config.yaml").read_text() if (run / "config.yaml").is_file() else "",
    }


def _baseline_rankings(data: MovieLensDataModule, task: RankingTask) -> dict[str, Ranking]:
    history = link_matrix(data.split.train_links, data.num_users, data.num_movies)
    rankings = {}
    for name in _BESIDE:
        baseline = BASELINES[name].baseline
        baseline.fit(history, seed=0)
        rankings[name] = rank_users(task, partial(baseline.score, history=history))
    return rankings


def _samples(data: MovieLensDataModule, task: RankingTask, ranking: Ranking, k: int = 10) -> Iterable[dict[str, Any]]:
    """Three users with their histories and lists, as plain texts."""
    graph = data.graph

    def describe(movie: int) -> dict[str, str]:
        return {"title": graph.titles[movie], "genres": genres_text(graph.genres[movie])}

    for position in sample_positions(task):
        seen, held_out = (pairs[1, pairs[0] == position].tolist() for pairs in (task.seen, task.held_out))
        listed = [movie for movie in ranking.lists[position, :k].tolist() if movie < task.num_movies]
        yield {
            "user": str(graph.users.ids[int(task.users[position])]),
            "num_seen": len(seen),
            "num_held_out": len(held_out),
            "history": [describe(movie) for movie in seen[:k]],
            "listed": [{**describe(movie), "found": movie in held_out} for movie in listed],
        }


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


def _picture(figure: Figure) -> str:
    """A figure as a data URI, so that the page needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
