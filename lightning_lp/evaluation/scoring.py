"""How a LightningModule, ours or a user's own, and a baseline score every movie for some users."""

import warnings
from typing import Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.index import index2ptr

from lightning_lp.data.schema import MOVIE, RATES
from lightning_lp.data.settings import History
from lightning_lp.evaluation.baselines import Baseline
from lightning_lp.evaluation.queries import Links, queries_of_labels
from lightning_lp.evaluation.ranking import ScoreQueries, ScoreUsers, dot_products, without_time
from lightning_lp.graph.sequences import ranges
from lightning_lp.model.rolling import EmbedsNew, embed_queries

_MAX_PAIRS = 2**20
"""Scored by one call of ``forward``."""


@runtime_checkable
class EmbedsAll(Protocol):
    """A module that embeds all nodes of a graph at once."""

    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Takes nodes and messages, returns [num_users, channels] and [num_movies, channels]: a product is a score."""


def scorer_of(
    module: pl.LightningModule, graph: HeteroData, history: History = "frozen", rating: Tensor | None = None
) -> ScoreQueries | None:
    """Scores by the vectors of a module, or else by its ``forward``, which then gets the whole graph as one batch.

    Where history is frozen, the vectors are those of ``embed_all``. Where it is rolling, each query is embedded as a
    new user from its strictly earlier links, by ``embed_new``; see :func:`~lightning_lp.model.rolling.embed_queries`.

    Args:
        module: the model, in evaluation mode.
        graph: ``split.val`` or ``split.test``, whose messages are the history.
        history: what a query is; where it is frozen, its time is not asked for.
        rating: [num_edges] float32 ratings of all edges of the whole graph, which a rolling history of a model that
            reads them is told. Default: unknown.

    Returns:
        None, with a warning that says what is missing, of a module that has none of these.
    """
    if history == "rolling":
        if isinstance(module, EmbedsNew):
            return _rolling(module, graph, rating)
        needs = "embed_new(graph, edge_index, num_users, edge_attrs), which embeds users by their links alone, beside "
        _warn(module, f"--data.split.history rolling needs {needs}embed_all(graph)")
        return None
    if isinstance(module, EmbedsAll):
        return without_time(dot_products(*module.embed_all(graph)))
    if type(module).forward is not pl.LightningModule.forward:
        return without_time(lambda users: _forward(module, graph, users))
    _warn(
        module,
        "that needs embed_all(graph), which gives the vectors of all users and movies, or forward(batch), which gives "
        "the logits of batch['user', 'rates', 'movie'].edge_label_index",
    )
    return None


def _warn(module: pl.LightningModule, reason: str) -> None:
    # All callers warn from this line: Python says it once.
    warnings.warn(f"{type(module).__name__} is not ranked: {reason}", stacklevel=1)


def _rolling(module: EmbedsNew, graph: HeteroData, rating: Tensor | None) -> ScoreQueries:
    z_movie = module.embed_all(graph)[1]

    def score(users: Tensor, time: Tensor | None = None) -> Tensor:
        return embed_queries(module, graph, users, _asked(time), rating) @ z_movie.T

    return score


def _asked(time: Tensor | None) -> Tensor:
    if time is None:
        raise ValueError("rolling history needs the time of each query: rank a task that has them")
    return time


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
        return baseline.score(known.queries_at(users, _asked(time)))

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
    labels = LabelScores(graph, score_queries, history)
    for start in range(0, labels.users.numel(), chunk):
        labels(labels.users[start : start + chunk], None if labels.time is None else labels.time[start : start + chunk])
    return labels.scores


class LabelScores:
    """Scores queries, and remembers what it says of the labels of a part: one pass ranks and judges labels.

    Args:
        graph: ``split.val`` or ``split.test``.
        score_queries: the model.
        history: what a query is.

    Attributes:
        users: [num] int64, who asks the queries that the labels belong to.
        time: [num] int64, when; as :func:`~lightning_lp.evaluation.queries.queries_of_labels`.
        scores: [num_labels] float32, 0 where the query has not been asked.
        is_scored: [num_labels] bool, where it has.
    """

    def __init__(self, graph: HeteroData, score_queries: ScoreQueries, history: History = "frozen") -> None:
        movie = graph[RATES].edge_label_index[1]
        self.users, self.time, row = queries_of_labels(graph, history, torch.ones_like(movie, dtype=torch.bool))
        self.scores, self.is_scored = torch.zeros(movie.numel()), torch.zeros_like(movie, dtype=torch.bool)
        self._score, self._movie = score_queries, movie
        self._label = row.argsort(stable=True)
        self._indptr = index2ptr(row[self._label], self.users.numel())
        self._times = torch.unique(self.time) if self.time is not None and history == "rolling" else None
        self._key = self._key_of(self.users, self.time)

    def __call__(self, users: Tensor, time: Tensor | None = None) -> Tensor:
        """As the model."""
        scores, key = self._score(users, time), self._key_of(users, time)
        query = torch.searchsorted(self._key, key).clamp(max=self._key.numel() - 1)
        asked = (self._key[query] == key).nonzero().flatten()
        first, end = self._indptr[query[asked]], self._indptr[query[asked] + 1]
        row, label = asked.repeat_interleave(end - first), self._label[ranges(first, end)[0]]
        self.scores[label] = scores[row.to(scores.device), self._movie[label].to(scores.device)].float().cpu()
        self.is_scored[label] = True
        return scores

    def _key_of(self, users: Tensor, time: Tensor | None) -> Tensor:
        """A number for each query that ascends by user, then time."""
        if self._times is None or time is None:
            return users
        key: Tensor = users * (self._times.numel() + 1) + torch.searchsorted(self._times, time.contiguous())
        return key
