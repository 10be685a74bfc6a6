"""How much the parts of a score count, chosen by links that none of them has seen."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, REV_RATES, USER

Floats = NDArray[np.float64]
Choice = TypeVar("Choice", bound=Hashable)
_PRIOR = 1.0
"""Labels' worth of belief that logits are right as they are."""
_MAX_LINKS = 8192
"""That weights are chosen by."""
_ROWS = 16
"""Links whose scores are added and counted at once: what fits a processor's cache takes a quarter of the time."""
_MAX_SCORES = 2**24
"""Of those links: of a large catalogue fewer are judged."""


@dataclass(frozen=True)
class Judged:
    """Links by which weights are chosen, and what their users have done.

    Attributes:
        users: [num_users] int64, those of the links, ascending.
        row: [num_links] int64, the place of each link's user among them.
        movie: [num_links] int64.
        graph: these users alone, all movies and their messages.
    """

    users: Tensor
    row: Tensor
    movie: Tensor
    graph: HeteroData

    @classmethod
    def of(cls, graph: HeteroData, links: Tensor) -> Self:
        """Takes some of ``links`` [2, num] and the history that ``graph`` has of their users."""
        user, movie = judged_links(links, graph[MOVIE].num_nodes)
        users, row = user.unique(return_inverse=True)
        return cls(users, row, movie, history_of(graph, users))


def judged_links(edge_index: Tensor, num_movies: int) -> Tensor:
    """[2, num_judged] some of the links, always the same, by which weights are chosen.

    Args:
        edge_index: [2, num_links] int64.
        num_movies: size of the catalogue, each of which is scored for each link.
    """
    order = torch.randperm(edge_index.size(1), generator=torch.Generator().manual_seed(0))
    return edge_index[:, order[: max(1, min(_MAX_LINKS, _MAX_SCORES // num_movies))].to(edge_index.device)]


def choose_weights(
    scores: Tensor, parts: Sequence[Tensor], tried: Sequence[Sequence[float]], row: Tensor, target: Tensor
) -> list[float]:
    """Chooses what each part counts in a sum of scores, one after the other: what ranks best.

    Of two weights whose difference may be chance (within a standard error of the difference: Breiman et al.,
    "Classification and Regression Trees", 1984, section 3.4.3) the one that stands first is taken.

    Args:
        scores: [num_users, num_movies] what the others are added to; -inf for movies that are no candidates.
        parts: what is added, each [num_users, num_movies] or [num_movies].
        tried: of each part the weights to try.
        row: [num_links] int64, the user of each link.
        target: [num_links] int64, the movie of each link.

    Examples:
        >>> import torch
        >>> from lightning_lp.model.encoders.mix import choose_weights
        >>> scores, part = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0.0, 2.0, 4.0])
        >>> user, tried = torch.tensor([0]), (0.0, 0.6, 1.0)
        >>> [choose_weights(scores, [part], [tried], user, torch.tensor([movie])) for movie in range(3)]
        [[0.0], [0.0], [0.6]]
    """
    chosen = []
    for part, weights in zip(parts, tried, strict=True):
        chosen.append(best_of(dict(zip(weights, gains(scores, part, weights, row, target), strict=True))))
        scores = torch.add(scores, part, alpha=chosen[-1])
    return chosen


def best_of(gains: Mapping[Choice, Tensor]) -> Choice:
    """The first of the choices that is within a standard error of the best one.

    Args:
        gains: of each choice [num_links], in the order of preference; the larger the better.
    """
    values = torch.stack([*gains.values()])
    behind = values[values.mean(dim=1).argmax()] - values
    is_good = behind.mean(dim=1) <= behind.std(dim=1, correction=0) / values.size(1) ** 0.5
    return [*gains][int(is_good.nonzero()[0])]


def gains(scores: Tensor, part: Tensor, weights: Sequence[float], row: Tensor, target: Tensor) -> Tensor:
    """[num_weights, num_links] the :func:`gain` of each link in sums of scores and a part of them.

    Args:
        scores: [num_users, num_movies].
        part: [num_users, num_movies] or [num_movies], what is added.
        weights: what it counts.
        row: [num_links] int64, the user of each link.
        target: [num_links] int64, the movie of each link.
    """
    found = []
    for user, movie in zip(torch.split(row, _ROWS), torch.split(target, _ROWS), strict=True):
        known, added = scores[user], part if part.dim() == 1 else part[user]
        found.append(torch.stack([gain(torch.add(known, added, alpha=weight), movie) for weight in weights]))
    return torch.cat(found, dim=1)


def gain(scores: Tensor, target: Tensor) -> Tensor:
    """1 / log2(1 + place of the target) in each row, as in NDCG; of equal scores half are before it."""
    reached = scores.gather(1, target[:, None])
    place = ((scores > reached).sum(dim=1) + (scores >= reached).sum(dim=1) + 1) / 2
    return 1 / (1 + place).log2()


def scale_and_level(logits: Tensor, is_link: Tensor) -> tuple[float, float]:
    """The logistic regression of links on their logits: what these are multiplied with, and what is then added.

    Args:
        logits: [num_labels] float32.
        is_link: [num_labels] bool, with links and others.
    """
    from scipy.optimize import minimize  # only a fit needs it, and whoever recommends would wait for it
    from scipy.special import expit

    x, y = np.stack([logits.cpu().numpy(), np.ones(len(logits))], axis=1), is_link.cpu().numpy().astype(np.float64)
    start = np.array([1.0, 0.0])

    def loss(weight: Floats) -> tuple[float, Floats]:
        score, away = x @ weight, weight - start
        value = np.logaddexp(0, score).sum() - y @ score + _PRIOR / 2 * away @ away
        return value, x.T @ (expit(score) - y) + _PRIOR * away

    def curvature(weight: Floats) -> Floats:
        p = expit(x @ weight)
        curved: Floats = x.T @ (x * (p * (1 - p))[:, None]) + _PRIOR * np.eye(2)
        return curved

    scale, level = minimize(loss, start, jac=True, hess=curvature, method="trust-exact").x.tolist()
    return (scale, level) if scale > 0 else (1.0, 0.0)  # where logits tell nothing, the order stays as it is


def history_of(graph: HeteroData, users: Tensor) -> HeteroData:
    """The graph of some users: all movies, and what these have rated.

    Args:
        graph: of all.
        users: [num] int64, ascending.
    """
    store, found = graph[REV_RATES], HeteroData()
    row = torch.full((graph[USER].num_nodes,), -1)
    row[users] = torch.arange(users.numel())
    (movie, user), is_theirs = store.edge_index, row[store.edge_index[1]] >= 0
    found[USER].node_id, found[MOVIE].node_id = users, graph[MOVIE].node_id
    found[REV_RATES].edge_index = torch.stack([movie, row[user]])[:, is_theirs]
    for name in ("time", "rating"):
        if name in store:
            found[REV_RATES][name] = store[name][is_theirs]
    return found
