"""Whom to recommend to: the queries of a part of the split, what each has seen, and what it should be given."""

from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.data.settings import History
from lightning_lp.evaluation.queries import Links, known_links, make_links, queries_of_labels


@dataclass(frozen=True)
class RankingTask:
    """Whom to recommend to, what they have seen and what they should be given.

    Attributes:
        users: [num] int64 indices of the users with held-out movies, sorted. Where history is rolling, a user stands
            there once for each time, and a position is that of a query.
        seen: [2, num_seen] int64 pairs (position in ``users``, movie), sorted by position.
        held_out: [2, num_held_out] int64 pairs, likewise.
        self_information: [num_movies] float32, -log2 of the share of all users who have seen the movie (of one
            user, if nobody has).
        time: [num] int64, when each query is asked, ascending for each user: where history is frozen, the time of the
            user's latest link in it. None where the split is not by time.
    """

    users: Tensor
    seen: Tensor
    held_out: Tensor
    self_information: Tensor
    time: Tensor | None = None

    @property
    def num_movies(self) -> int:
        """Size of the catalogue."""
        return self.self_information.numel()


def ranking_task(
    graph: HeteroData,
    below_min_rating: Tensor | None = None,
    max_users: int | None = None,
    history: History = "frozen",
) -> RankingTask:
    """The task of a part of the split.

    Where history is frozen, the messages are seen. Where it is rolling, what is strictly earlier than the query is
    seen, held-out links included: a movie that the user rates later may be listed before.

    Args:
        graph: ``split.val`` or ``split.test``: its messages are known, its positive labels are held out.
        below_min_rating: [2, num_pairs] int64 pairs that are seen, at any time, but no links.
        max_users: where there are more queries than this, so many of them, drawn uniformly, the same ones each time.
            Default: all.
        history: what a query is.
    """
    store = graph[RATES]
    is_link = store.edge_label > 0
    users, time, row = queries_of_labels(graph, history, is_link)
    chosen = _chosen(len(users), max_users)
    position = torch.full((len(users),), -1)
    position[chosen] = torch.arange(chosen.numel())
    users, held_out = users[chosen], torch.stack([row, store.edge_label_index[1, is_link]])
    time = None if time is None else time[chosen]
    if history == "rolling" and time is not None:
        seen = _pairs(known_links(graph, history).queries_at(users, time).history)
    else:
        seen = _seen_by(users, store.edge_index, graph[USER].num_nodes)
    if below_min_rating is not None:
        below = make_links(below_min_rating, graph[USER].num_nodes, graph[MOVIE].num_nodes)
        seen = torch.cat([seen, _pairs(below.queries(users).history)], dim=1)
        seen = seen[:, seen[0].argsort(stable=True)]
    num_raters = torch.bincount(store.edge_index[1], minlength=graph[MOVIE].num_nodes)
    return RankingTask(
        users=users,
        seen=seen,
        held_out=by_position(held_out, position),
        self_information=-(num_raters.clamp(min=1) / graph[USER].num_nodes).log2(),
        time=time,
    )


_TASKS: MutableMapping[HeteroData, dict[tuple[int | None, History], tuple[Tensor | None, RankingTask]]] = (
    WeakIdKeyDictionary()
)
"""Of the graph that was asked for last, by ``max_users`` and history the pairs below the least rating and the task."""


def kept_task(
    graph: HeteroData,
    below_min_rating: Tensor | None = None,
    max_users: int | None = None,
    history: History = "frozen",
) -> RankingTask:
    """As :func:`ranking_task`, built once for a graph that does not change: it is asked for after each epoch.

    It is kept for as long as the graph lives, or until the task of another one is wanted: it holds the history, which
    is large.
    """
    if graph not in _TASKS:
        _TASKS.clear()
    tasks, key = _TASKS.setdefault(graph, {}), (max_users, history)
    if key not in tasks or tasks[key][0] is not below_min_rating:
        tasks[key] = below_min_rating, ranking_task(graph, below_min_rating, max_users, history)
    return tasks[key][1]


def by_position(pairs: Tensor, position: Tensor) -> Tensor:
    """Replaces users (or queries) by their positions, leaves out those without (-1), and sorts by position.

    Args:
        pairs: [2, num_pairs] int64 (user, movie).
        position: [num_users] int64.
    """
    pairs = torch.stack([position[pairs[0]], pairs[1]])
    pairs = pairs[:, pairs[0] >= 0]
    return pairs[:, pairs[0].argsort(stable=True)]


def _chosen(num: int, max_num: int | None) -> Tensor:
    if max_num is None:
        return torch.arange(num)
    return torch.randperm(num, generator=torch.Generator().manual_seed(0))[:max_num].sort().values


def _seen_by(users: Tensor, links: Tensor, num_users: int) -> Tensor:
    position = torch.full((num_users,), -1)
    position[users] = torch.arange(users.numel())
    return by_position(links, position)


def _pairs(links: Links) -> Tensor:
    return torch.stack([links.sequences.source, links.sequences.node])
