"""Which movie follows which, in closed form: regression of the next movie on what came before it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_lp.graph.messages import adjacency
from lightning_lp.graph.sequences import Sequences, sequences

_NUM_ITERATIONS = 2
"""Of the subspace iteration."""
_FEWEST = 3
_COLUMNS = 1024
"""Of features and movies, in memory at once."""
_OVERSAMPLED = 32
"""Vectors beyond those that are wanted."""


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


@dataclass(frozen=True)
class Counted:
    """What counts in a regression of the next movie on the history.

    Attributes:
        l2: the penalty.
        later: what a movie that came later counts as one that came earlier: at 0 order is all, at 1 it is nothing.
        features: what two movies of one genre or term of a title count as two of one user, over the root of how many
            movies have it.
        power: see :func:`history_weights`.
        length: how many links before a link are its history.
    """

    l2: float
    later: float = 0.0
    features: float = 0.0
    power: float = 0.5
    length: int = 50


def transition_embeddings(
    history: Sequences,
    features: Tensor,
    num_movies: int,
    channels: int,
    counted: Counted,
    max_movies: int = 20480,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Vectors of movies in a history and of movies that may come next; their dot products say how likely.

    Each link of each user is a row of two matrices: in S the movies before it, weighted by :func:`history_weights`, in
    Y the movie itself. B = (S'S + l2 I)^-1 S'Y is the ridge regression of the next movie on the history (the
    transitions of SLIST: Choi et al., "Session-aware linear item-item models for session-based recommendation", WWW
    2021). To S'S and S'Y are added, as :class:`Counted` says, those of the sequences read backwards, and of features,
    each a user who has seen all its movies at once. Of B is kept what explains most of the predictions S B: the
    singular vectors of a reduced-rank regression (Izenman, "Reduced-rank regression for the multivariate linear model",
    Journal of Multivariate Analysis 1975).

    Args:
        history: the training links of each user in order of time, of movies from 0 to ``num_movies`` - 1.
        features: [2, n] int64 (feature, movie) pairs, as ``feature_rows`` gives them.
        num_movies: size of the catalogue.
        channels: width of the vectors.
        counted: what counts.
        max_movies: so many of the movies with the most links take part, of those with a link at least; others get
            zeros. The work grows with the third power of this number, the memory with the second: 12 bytes for each
            pair.
        seed: seed of the randomised decomposition.

    Returns:
        [num_movies, channels] float32 each. Channels beyond the rank of B are 0.
    """
    core = core_movies(history, num_movies, max_movies)
    source, target = (history.node.new_zeros(num_movies, channels, dtype=torch.float32) for _ in range(2))
    if core.numel() == 0:
        return source, target
    gram, follows = all_grams(history, features, core, num_movies, counted)
    factor = _factor(gram, counted.l2)
    rank = min(channels, core.numel())
    basis = _main_directions(factor, gram, follows, rank, seed)
    vectors = torch.cholesky_solve(follows @ basis, factor)
    source[core], target[core] = (F.pad(part, (0, channels - rank)) for part in (vectors, basis))
    return source, target


def core_movies(history: Sequences, num_movies: int, max_movies: int) -> Tensor:
    """[num_core] int64, ascending: the movies with the most links, of those that have any."""
    count = torch.bincount(history.node, minlength=num_movies)
    core = count.argsort(descending=True, stable=True)[:max_movies]
    return core[count[core] >= _FEWEST].sort().values


def ridge_predictions(gram: Tensor, follows: Tensor, l2: float, rows: Tensor) -> Tensor:
    """``rows`` (S'S + l2 I)^-1 S'Y from S'S and S'Y, [num_rows, num_core]: scores of histories, the rows."""
    predictions: Tensor = torch.cholesky_solve(rows.T, _factor(gram, l2)).T @ follows
    return predictions


def all_grams(
    history: Sequences, features: Tensor, core: Tensor, num_movies: int, counted: Counted
) -> tuple[Tensor, Tensor]:
    """S'S and S'Y with all that counts, [num_core, num_core] float32 each."""
    gram, follows = transition_grams(history, core, num_movies, counted.power, counted.length)
    if counted.later:
        back = transition_grams(backwards(history), core, num_movies, counted.power, counted.length)
        gram, follows = (ahead.add_(of, alpha=counted.later) for ahead, of in zip((gram, follows), back, strict=True))
    if counted.features:
        gram, follows = (
            of_links.add_(of, alpha=counted.features)
            for of_links, of in zip((gram, follows), feature_grams(features, core, num_movies), strict=True)
        )
    return gram, follows


def backwards(history: Sequences) -> Sequences:
    """The links of each source, the latest first."""
    return sequences(torch.stack([history.source, history.node]).flip(1), None, history.num_sources)


def feature_grams(features: Tensor, core: Tensor, num_movies: int) -> tuple[Tensor, Tensor]:
    """The same of features: what two movies share, over the number of movies that do; nothing follows itself.

    Args:
        features: [2, n] int64 (feature, movie) pairs.
        core: [num_core] int64, the movies that take part.
        num_movies: size of the catalogue.
    """
    place = torch.full((num_movies,), -1)
    place[core] = torch.arange(core.numel())
    feature, movie = features[0], place[features[1]]
    feature, movie = feature[movie >= 0], movie[movie >= 0]
    num = int(feature.max()) + 1 if feature.numel() else 0
    value = torch.bincount(feature, minlength=num).float().rsqrt()[feature]
    of_movie = adjacency(torch.stack([feature, movie]), core.numel(), num, value)
    gram = torch.empty(core.numel(), core.numel())
    for start in range(0, core.numel(), _COLUMNS):
        is_here = (movie >= start) & (movie < start + _COLUMNS)
        columns = torch.zeros(num, min(_COLUMNS, core.numel() - start))
        columns.index_put_((feature[is_here], movie[is_here] - start), value[is_here], accumulate=True)
        gram[:, start : start + _COLUMNS] = of_movie @ columns
    follows = gram.clone()
    follows.diagonal().zero_()
    return gram, follows


def _factor(gram: Tensor, l2: float) -> Tensor:
    ridge = gram.clone()
    ridge.diagonal().add_(l2)
    factor: Tensor = torch.linalg.cholesky(ridge, out=ridge)
    return factor


def transition_grams(
    history: Sequences, core: Tensor, num_movies: int, power: float, length: int
) -> tuple[Tensor, Tensor]:
    """S'S and S'Y of sequences without S: pairs of links at a distance are counted at once.

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


def _main_directions(factor: Tensor, gram: Tensor, follows: Tensor, rank: int, seed: int) -> Tensor:
    """[num_core, rank] orthonormal: what of the predictions S B varies most (Halko, Martinsson and Tropp, 2011).

    B is not computed: a product with it is one with S'Y and the solution of a few equations.
    """
    generator = torch.Generator().manual_seed(seed)
    width = min(rank + _OVERSAMPLED, len(gram))
    q = torch.randn(len(gram), width, generator=generator)
    for _ in range(_NUM_ITERATIONS):
        q = torch.linalg.qr(
            follows.T @ torch.cholesky_solve(gram @ torch.cholesky_solve(follows @ q, factor), factor)
        ).Q
    projected = torch.cholesky_solve(follows @ q, factor)
    vectors = torch.linalg.eigh(projected.T @ (gram @ projected)).eigenvectors
    directions: Tensor = q @ vectors[:, -rank:].flip(1)
    return directions
