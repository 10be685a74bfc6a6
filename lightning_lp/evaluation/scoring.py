"""How a LightningModule, ours or a user's own, and a baseline score every movie for some users."""

import warnings
from typing import Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, RATES
from lightning_lp.evaluation.baselines import Baseline
from lightning_lp.evaluation.queries import History, Links, queries_of_labels
from lightning_lp.evaluation.ranking import ScoreQueries, ScoreUsers, dot_products, without_time

_MAX_PAIRS = 2**20
"""Scored by one call of ``forward``."""


@runtime_checkable
class EmbedsAll(Protocol):
    """A module that embeds all nodes of a graph at once."""

    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Takes nodes and messages, returns [num_users, channels] and [num_movies, channels]: a product is a score."""


def scorer_of(module: pl.LightningModule, graph: HeteroData) -> ScoreUsers | None:
    """Scores by ``embed_all`` of a module, or else by its ``forward``, which then gets the whole graph as one batch.

    Args:
        module: the model, in evaluation mode.
        graph: ``split.val`` or ``split.test``, whose messages are the history.

    Returns:
        None, with a warning that says what is missing, of a module that has neither.
    """
    if isinstance(module, EmbedsAll):
        return dot_products(*module.embed_all(graph))
    if type(module).forward is not pl.LightningModule.forward:
        return lambda users: _forward(module, graph, users)
    warnings.warn(
        f"{type(module).__name__} is not ranked: that needs embed_all(graph), which gives the vectors of all users and "
        "movies, or forward(batch), which gives the logits of batch['user', 'rates', 'movie'].edge_label_index",
        stacklevel=2,
    )
    return None


@torch.no_grad()
def _forward(module: pl.LightningModule, graph: HeteroData, users: Tensor) -> Tensor:
    """[len(users), num_movies] float32 logits."""
    num_movies = graph[MOVIE].num_nodes
    whole = HeteroData(graph.to_dict()).to(module.device)
    whole[RATES].pop("edge_label", None)
    scores = []
    for chunk in torch.split(users, max(1, _MAX_PAIRS // num_movies)):
        pairs = torch.cartesian_prod(chunk, torch.arange(num_movies)).T
        whole[RATES].edge_label_index = pairs.to(module.device)
        scores.append(module(whole).float().view(len(chunk), num_movies))
    return torch.cat(scores) if scores else torch.empty(0, num_movies)


def scorer_of_baseline(baseline: Baseline, known: Links, history: History = "frozen") -> ScoreQueries:
    """Scores by a baseline that is fitted.

    Args:
        baseline: the baseline.
        known: as :func:`~lightning_lp.evaluation.queries.known_links`.
        history: what a query is; where it is frozen, its time is not asked for.
    """

    def score(users: Tensor, time: Tensor | None = None) -> Tensor:
        if history == "frozen":
            return baseline.score(known.queries(users))
        if time is None:
            raise ValueError("rolling history needs the time of each query: rank a task that has them")
        return baseline.score(known.queries_at(users, time))

    return score


def score_labels(graph: HeteroData, score_users: ScoreUsers, chunk: int = 256) -> Tensor:
    """[num_labels] float32 scores of the labels of a part, by the very scores that rank.

    Args:
        graph: ``split.val`` or ``split.test``.
        score_users: the model.
        chunk: users scored at once.
    """
    return score_query_labels(graph, without_time(score_users), chunk=chunk)


def score_query_labels(
    graph: HeteroData, score_queries: ScoreQueries, history: History = "frozen", chunk: int = 256
) -> Tensor:
    """As :func:`score_labels`, each label by the query that it belongs to.

    Args:
        graph: ``split.val`` or ``split.test``.
        score_queries: the model.
        history: what a query is.
        chunk: queries scored at once.
    """
    label_movie = graph[RATES].edge_label_index[1]
    users, time, row = queries_of_labels(graph, history, torch.ones_like(label_movie, dtype=torch.bool))
    order = row.argsort(stable=True)
    row, movie = row[order], label_movie[order]
    scores = torch.empty(order.numel())
    for start in range(0, users.numel(), chunk):
        first, last = torch.searchsorted(row, torch.tensor([start, start + chunk])).tolist()
        asked = None if time is None else time[start : start + chunk]
        chunk_scores = score_queries(users[start : start + chunk], asked).cpu()
        scores[order[first:last]] = chunk_scores[row[first:last] - start, movie[first:last]]
    return scores
