"""One self-contained page about a run: settings, curves, comparison, and where the model wins."""

import base64
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from torch_geometric.data import HeteroData

from lightning_lp.atomic import replacing
from lightning_lp.callbacks.curves import curves_figure
from lightning_lp.callbacks.data_report import SPLIT_COLUMNS, data_summary, split_rows
from lightning_lp.callbacks.samples import genres_text, sample_positions
from lightning_lp.checkpointing.finding import find_checkpoint, records_of
from lightning_lp.checkpointing.results_file import RESULTS_FILE
from lightning_lp.checkpointing.runs import load_run
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.data.settings import History
from lightning_lp.errors import UserError
from lightning_lp.escape import visible
from lightning_lp.evaluation.baselines import BASELINES, feature_matrix
from lightning_lp.evaluation.breakdown import by_gap, by_history_age, by_movie_popularity, by_user_activity
from lightning_lp.evaluation.figures import breakdown_figure, learning_figure, recall_figure
from lightning_lp.evaluation.queries import is_by_time, known_links
from lightning_lp.evaluation.ranking import Ranking, rank_queries
from lightning_lp.evaluation.ranking_task import RankingTask, ranking_task
from lightning_lp.evaluation.scoring import score_query_labels, scorer_of, scorer_of_baseline
from lightning_lp.model.module import LinkPredictionModule

REPORT_FILE = "report.html"
COMPARISON_FILE = "comparison.json"
_BESIDE = ("popularity", "ItemKNN")
"""Baselines that recall is broken down for: quick to fit on any catalogue."""


def write_page(run: Path, changes: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Writes ``report.html`` into a run folder, whole or not at all.

    Everything is computed from the best checkpoint on the validation part, except the metrics of ``results.json``.

    Args:
        run: the run folder.
        changes: settings of the data module that replace the run's, where its data is elsewhere now.

    Returns:
        The file.

    Raises:
        UserError: the folder is no finished run, or its data is not the data it was trained on.
    """
    run = records_of(run)
    if not (run / RESULTS_FILE).is_file():
        raise UserError(f"{run} has no {RESULTS_FILE}: name the folder of a finished run with --run")
    data, module = load_run(run, changes)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(files("lightning_lp.commands").joinpath("report.html").read_text("utf-8"))
    page = visible(template.render(_content(run, module, data)), keep="\n")
    path = run / REPORT_FILE
    with replacing(path) as partial_path:
        partial_path.write_text(page, encoding="utf-8")
    return path


def _content(run: Path, module: LinkPredictionModule, data: MovieLensDataModule) -> dict[str, Any]:
    graph, history = data.part("val"), data.split_settings.history
    score_queries = scorer_of(module, graph, history, data.graph.data[RATES].get("rating"))
    assert score_queries is not None
    task = ranking_task(graph, data.graph.below_min_rating, history=history)
    rankings = {"this run": rank_queries(task, score_queries), **_baseline_rankings(data, task)}
    num_raters = torch.bincount(graph[RATES].edge_index[1], minlength=data.num_movies)
    comparison = _comparison(run)
    probability = score_query_labels(graph, score_queries, history).sigmoid()
    return {
        "run": run.resolve().name,
        "checkpoint": find_checkpoint(run).name,
        "summary": data_summary(data),
        "is_sample": data.dataset_name == "synthetic-sample",
        "results": json.loads((run / RESULTS_FILE).read_text()),
        "comparison": comparison,
        "recall": _picture(recall_figure(_curves(comparison))) if comparison else "",
        "split_columns": SPLIT_COLUMNS,
        "split_rows": split_rows(data.split),
        "learning": _picture(learning_figure(run)),
        "curves": _picture(curves_figure(probability, graph[RATES].edge_label.long())),
        "by_movie": _picture(breakdown_figure(by_movie_popularity(task, rankings, num_raters), "raters of the movie")),
        "by_user": _picture(breakdown_figure(by_user_activity(task, rankings), "movies the user has rated")),
        "by_time": _by_time(task, rankings, graph, history) if is_by_time(graph) else {},
        "samples": list(_samples(data, task, rankings["this run"])),
        "config": (run / "config.yaml").read_text() if (run / "config.yaml").is_file() else "",
    }


def _baseline_rankings(data: MovieLensDataModule, task: RankingTask) -> dict[str, Ranking]:
    graph, history = data.split.val, data.split_settings.history
    links, known = known_links(graph), known_links(graph, history)
    features, rankings = feature_matrix(data.graph), {}
    for name in _BESIDE:
        baseline = replace(BASELINES[name].baseline)  # type: ignore[type-var]
        baseline.fit(links, features, seed=0)
        rankings[name] = rank_queries(task, scorer_of_baseline(baseline, known, history))
    return rankings


def _by_time(task: RankingTask, rankings: Mapping[str, Ranking], graph: HeteroData, history: History) -> dict[str, str]:
    """Pictures of recall by how long a history has lasted, and by how long ago it ended, by what they show."""
    age, gap = by_history_age(task, rankings, graph, history), by_gap(task, rankings, graph, history)
    return {
        "Recall by age of the history": _picture(breakdown_figure(age, "days from the first to the latest movie")),
        "Recall by gap": _picture(breakdown_figure(gap, "days from the latest movie to the held-out one")),
    }


def _comparison(run: Path) -> dict[str, Any] | None:
    """What ``compare`` wrote into the folder, best NDCG@20 first; what was skipped comes last."""
    path = run / COMPARISON_FILE
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    order = sorted(found["models"].items(), key=lambda item: -item[1]["metrics"].get("ndcg@20", -1.0))
    return found | {"models": dict(order)}


def _curves(comparison: dict[str, Any]) -> dict[str, list[float]]:
    return {name: model["recall_curve"] for name, model in comparison["models"].items() if model["recall_curve"]}


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


def _picture(figure: Figure) -> str:
    """A figure as a data URI, so that the page needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
