"""Where a model wins: recall by how popular held-out movies are, and by how long and how old histories are."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import RATES
from lightning_lp.data.settings import History
from lightning_lp.evaluation.queries import Links, known_links
from lightning_lp.evaluation.ranking import Ranking
from lightning_lp.evaluation.ranking_task import RankingTask

MOVIE_BINS = (0, 1, 6, 21, 51, 101)
"""Least number of raters in the history, of each bin of movies."""

USER_BINS = (0, 20, 50, 100, 300)
"""Least number of movies in the history, of each bin of users."""

DAY_BINS = (-1, 0, 1, 7, 30, 180, 365, 1095)
"""Least number of whole days, of each bin of times; -1: there is no history."""

_DAY = 86_400


@dataclass(frozen=True)
class Breakdown:
    """Recall of several models by bin.

    Attributes:
        labels: what each bin holds, as ``6-20``.
        counts: held-out movies or users in each bin.
        recall: by model the recall of each bin; NaN where it is empty.
    """

    labels: list[str]
    counts: list[int]
    recall: dict[str, list[float]]


def by_movie_popularity(task: RankingTask, rankings: Mapping[str, Ranking], num_raters: Tensor) -> Breakdown:
    """The share of held-out movies that are listed (in the first 20), by their number of raters in the history.

    Args:
        task: users and held-out movies.
        rankings: by model the lists of all users of the task, in its order.
        num_raters: [num_movies] int64.
    """
    bins = _bin(num_raters[task.held_out[1]], MOVIE_BINS)
    return _breakdown(bins, MOVIE_BINS, _hits(task, rankings))


def by_user_activity(task: RankingTask, rankings: Mapping[str, Ranking]) -> Breakdown:
    """The mean recall@20 of users, by the number of movies in their history."""
    bins = _bin(torch.bincount(task.seen[0], minlength=task.users.numel()), USER_BINS)
    return _breakdown(bins, USER_BINS, {name: ranking.values["recall@20"] for name, ranking in rankings.items()})


def by_history_age(
    task: RankingTask, rankings: Mapping[str, Ranking], graph: HeteroData, history: History = "frozen"
) -> Breakdown:
    """The mean recall@20 of users (of queries, where history is rolling), by the age of their history.

    Args:
        task: users and held-out movies, of a split by time.
        rankings: by model the lists of all users of the task, in its order.
        graph: the part of the split.
        history: what a query is.

    Returns:
        Bins of the days between a user's first known link and the latest one.
    """
    first, latest, is_known = _ends(_histories(task, graph, history))
    bins = _bin(torch.where(is_known, (latest - first) // _DAY, -1), DAY_BINS)
    return _breakdown(bins, DAY_BINS, {name: ranking.values["recall@20"] for name, ranking in rankings.items()})


def by_gap(
    task: RankingTask, rankings: Mapping[str, Ranking], graph: HeteroData, history: History = "frozen"
) -> Breakdown:
    """The share of held-out movies that are listed (in the first 20), by the days since the user's latest known link.

    Args:
        task: users and held-out movies, of a split by time.
        rankings: by model the lists of all users of the task, in its order.
        graph: the part of the split.
        history: what a query is.
    """
    position = task.held_out[0]
    _, latest, is_known = _ends(_histories(task, graph, history))
    gap = (_held_out_time(task, graph) - latest[position]) // _DAY
    bins = _bin(torch.where(is_known[position], gap.clamp(min=0), -1), DAY_BINS)
    return _breakdown(bins, DAY_BINS, _hits(task, rankings))


def _histories(task: RankingTask, graph: HeteroData, history: History) -> Links:
    """What is known of each user or query of a task."""
    known = known_links(graph, history)
    if history == "rolling" and task.time is not None:
        return known.queries_at(task.users, task.time).history
    return known.queries(task.users).history


def _ends(links: Links) -> tuple[Tensor, Tensor, Tensor]:
    """[num] int64 times of the first and of the latest link of each user, and [num] bool whether there is one."""
    ordered = links.sequences
    if ordered.time is None:
        raise ValueError("this split is not by time: no link of a history has a time")
    time = torch.cat([ordered.time, ordered.time.new_zeros(1)])  # of a user without links
    last = torch.where(ordered.length > 0, ordered.indptr[1:] - 1, -1)
    return time[torch.where(ordered.length > 0, ordered.indptr[:-1], -1)], time[last], ordered.length > 0


def _held_out_time(task: RankingTask, graph: HeteroData) -> Tensor:
    """[num_held_out] int64, the time of each held-out link of the task."""
    store = graph[RATES]
    is_link, (position, movie) = store.edge_label > 0, task.held_out
    user, of_link = store.edge_label_index[:, is_link]
    key, order = (user * task.num_movies + of_link).sort()
    place = torch.searchsorted(key, task.users[position] * task.num_movies + movie)
    found: Tensor = store.edge_label_time[is_link][order[place]]
    return found


def _hits(task: RankingTask, rankings: Mapping[str, Ranking]) -> dict[str, Tensor]:
    """By model [num_held_out] float64, 1 where a held-out movie is listed."""
    user, movie = task.held_out
    return {name: (ranking.lists[user] == movie[:, None]).any(dim=1).double() for name, ranking in rankings.items()}


def recall_curve(task: RankingTask, ranking: Ranking) -> Tensor:
    """Recall of lists of 1, 2, ... movies: the mean over users, [length of the lists] float64."""
    user, movie = task.held_out
    num_held_out = torch.bincount(user, minlength=task.users.numel())
    found = (ranking.lists[user] == movie[:, None]).double() / num_held_out[user, None]  # [num_held_out, length]
    curve: Tensor = found.sum(dim=0).cumsum(dim=0) / task.users.numel()
    return curve


def _bin(values: Tensor, edges: tuple[int, ...]) -> Tensor:
    return torch.bucketize(values, torch.tensor(edges), right=True) - 1


def _breakdown(bins: Tensor, edges: tuple[int, ...], values: Mapping[str, Tensor]) -> Breakdown:
    counts = torch.bincount(bins, minlength=len(edges))
    sums = {name: torch.zeros(len(edges), dtype=torch.float64).index_add(0, bins, v) for name, v in values.items()}
    return Breakdown(
        labels=[_label(low, high) for low, high in zip(edges, (*edges[1:], None), strict=True)],
        counts=counts.tolist(),
        recall={name: (total / counts).tolist() for name, total in sums.items()},
    )


def _label(low: int, high: int | None) -> str:
    if low < 0:
        return "none"
    if high is None:
        return f"{low}+"
    return str(low) if high == low + 1 else f"{low}-{high - 1}"
