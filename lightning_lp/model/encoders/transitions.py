"""Which movie follows which, in closed form: regression of the next movie on what came before it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_lp.graph.sequences import Sequences

_NUM_ITERATIONS = 2
"""Of the subspace iteration."""
_FEWEST = 3
"""Links that a movie needs: of fewer nothing can be learned about what follows it."""


def history_weights(place: Tensor, power: float, length: int | None = None) -> Tensor:
    """What a link counts in a history: ``place ** -power``, and nothing beyond ``length``.

    Args:
        place: int64 places from the end, 1 for the latest link.
        power: 0: all count the same.
        length: how many of the latest links count. Default: all.

    Returns:
        float32, shaped as ``place``.
    """
    weight = place.to(torch.float32).pow(-power)
    return weight if length is None else weight * (place <= length)


def transition_embeddings(
    history: Sequences,
    num_movies: int,
    channels: int,
    l2: float,
    power: float = 0.5,
    length: int = 50,
    max_movies: int = 6144,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Vectors of movies in a history and of movies that may come next; their dot products say how likely.

    Each link of each user is a row of two matrices: in S the movies before it, weighted by :func:`history_weights`, in
    Y the movie itself. B = (S'S + l2 I)^-1 S'Y is the ridge regression of the next movie on the history (the
    transitions of SLIST: Choi et al., "Session-aware linear item-item models for session-based recommendation", WWW
    2021). Of B is kept what explains most of the predictions S B: the singular vectors of a reduced-rank regression
    (Izenman, "Reduced-rank regression for the multivariate linear model", Journal of Multivariate Analysis 1975).

    Args:
        history: the training links of each user in order of time, of movies from 0 to ``num_movies`` - 1.
        num_movies: size of the catalogue.
        channels: width of the vectors.
        l2: the penalty.
        power: see :func:`history_weights`.
        length: how many links before a link are its history.
        max_movies: so many of the movies with the most links take part, of those with three at least; others get zeros.
            The work grows with the third power of this number, the memory with the second.
        seed: seed of the randomised decomposition.

    Returns:
        [num_movies, channels] float32 each. Channels beyond the rank of B are 0.
    """
    core = core_movies(history, num_movies, max_movies)
    source, target = (history.node.new_zeros(num_movies, channels, dtype=torch.float32) for _ in range(2))
    if core.numel() == 0:
        return source, target
    gram, follows = transition_grams(history, core, num_movies, power, length)
    weight = ridge_regression(gram, follows, l2)
    basis = _main_directions(weight, gram, min(channels, core.numel()), seed)
    rest = channels - basis.size(1)
    source[core], target[core] = F.pad(weight @ basis, (0, rest)), F.pad(basis, (0, rest))
    return source, target


def core_movies(history: Sequences, num_movies: int, max_movies: int) -> Tensor:
    """[num_core] int64, ascending: the movies with the most links, of those of which something can be learned."""
    count = torch.bincount(history.node, minlength=num_movies)
    core = count.argsort(descending=True, stable=True)[:max_movies]
    return core[count[core] >= _FEWEST].sort().values


def ridge_regression(gram: Tensor, follows: Tensor, l2: float) -> Tensor:
    """(S'S + l2 I)^-1 S'Y from S'S and S'Y."""
    ridge = gram.clone()
    ridge.diagonal().add_(l2)
    return torch.cholesky_solve(follows, torch.linalg.cholesky(ridge))


def transition_grams(
    history: Sequences, core: Tensor, num_movies: int, power: float, length: int
) -> tuple[Tensor, Tensor]:
    """S'S and S'Y of :func:`transition_embeddings` without S: pairs of links at a distance are counted at once.

    Two links of one user, ``distance`` apart, are together in the histories of all links that follow the later one
    within ``length``; what they add is a sum over those that depends on how many there are.

    Args:
        history: the links in order.
        core: [num_core] int64, the movies that take part.
        num_movies: size of the catalogue.
        power: see :func:`history_weights`.
        length: how many links before a link are its history.

    Returns:
        [num_core, num_core] float32 each.
    """
    place = torch.full((num_movies,), -1)
    place[core] = torch.arange(core.numel())
    movie, source, after = place[history.node], history.source, history.place - 1  # links that follow
    weight = history_weights(torch.arange(1, length + 1), power)
    num = core.numel()
    gram, follows = (torch.zeros(num * num) for _ in range(2))
    for distance in range(min(length, int(history.length.max()) - 1) + 1):
        first, second = movie[: movie.numel() - distance], movie[distance:]
        is_pair = (source[: movie.numel() - distance] == source[distance:]) & (first >= 0) & (second >= 0)
        pair = first[is_pair] * num + second[is_pair]
        shared = F.pad((weight[distance:] * weight[: length - distance]).cumsum(0), (1, 0))
        value = shared[after[distance:][is_pair].clamp(max=length - distance)]
        gram.index_add_(0, pair, value)
        if distance:
            gram.index_add_(0, second[is_pair] * num + first[is_pair], value)
            follows.index_add_(0, pair, weight[distance - 1].expand(pair.numel()))
    return gram.view(num, num), follows.view(num, num)


def _main_directions(weight: Tensor, gram: Tensor, rank: int, seed: int) -> Tensor:
    """[num_core, rank] orthonormal: what of the predictions S B varies most (Halko, Martinsson and Tropp, 2011)."""
    generator = torch.Generator().manual_seed(seed)
    width = min(rank + 32, len(weight))
    q = torch.randn(len(weight), width, generator=generator)
    for _ in range(_NUM_ITERATIONS):
        q = torch.linalg.qr(weight.T @ (gram @ (weight @ q))).Q
    projected = weight @ q
    vectors = torch.linalg.eigh(projected.T @ (gram @ projected)).eigenvectors
    directions: Tensor = q @ vectors[:, -rank:].flip(1)
    return directions
