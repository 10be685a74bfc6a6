"""Where a model wins: recall by how popular the held-out movies and how active the users are."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_lp.evaluation.ranking import Ranking
from lightning_lp.evaluation.ranking_task import RankingTask

MOVIE_BINS = (0, 1, 6, 21, 51, 101)
"""Least number of raters in the history, of each bin of movies."""

USER_BINS = (0, 20, 50, 100, 300)
"""Least number of movies in the history, of each bin of users."""


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
    user, movie = task.held_out
    bins = _bin(num_raters[movie], MOVIE_BINS)
    hits = {name: (ranking.lists[user] == movie[:, None]).any(dim=1).double() for name, ranking in rankings.items()}
    return _breakdown(bins, MOVIE_BINS, hits)


def by_user_activity(task: RankingTask, rankings: Mapping[str, Ranking]) -> Breakdown:
    """The mean recall@20 of users, by the number of movies in their history."""
    bins = _bin(torch.bincount(task.seen[0], minlength=task.users.numel()), USER_BINS)
    return _breakdown(bins, USER_BINS, {name: ranking.values["recall@20"] for name, ranking in rankings.items()})


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
    if high is None:
        return f"{low}+"
    return str(low) if high == low + 1 else f"{low}-{high - 1}"
