"""The linear part of the model: similarities of movies in closed form, as vectors of few channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_lp.graph.messages import adjacency

_NUM_ITERATIONS = 4
"""Of the subspace iteration."""
_USERS_PER_FEATURE = 150.0
"""That say as much of the likeness of two movies, if they have rated both, as a feature that both have."""


def feature_rows(x: Tensor, terms: Tensor, num_terms: int) -> Tensor:
    """[2, n] int64 (feature, movie) pairs of all genres, then all terms of titles.

    Args:
        x: [num_movies, num_genres] multi-hot genres.
        terms: [num_movies, max_terms] numbers of terms from 1, filled up with 0.
        num_terms: size of the vocabulary of terms.
    """
    movie, genre = x.nonzero(as_tuple=True)
    term_movie, column = terms.nonzero(as_tuple=True)
    term = terms[term_movie, column] - 1 + x.size(1)
    return torch.stack([torch.cat([genre, term]), torch.cat([movie, term_movie])])


def feature_weight_of(num_users: int) -> float:
    """The weight of a feature, where a rating counts 1: what users say of movies grows with their number."""
    return float((num_users / _USERS_PER_FEATURE) ** 0.5)


def spectral_embeddings(
    links: Tensor,
    features: Tensor,
    num_movies: int,
    channels: int,
    l2: float = 150.0,
    feature_weight: float = 2.0,
    seed: int = 0,
) -> Tensor:
    """Vectors whose dot products are the similarities of movies that EASE finds, features included.

    EASE (Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019) regresses each movie on all others:
    with P = (A'A + l2 I)^-1 the weight of movie i for movie j is -P_ij / P_jj. Here the rows of A are the users and,
    times ``feature_weight``, the features (as rows of a user-item matrix: Jeunen, Van Balen and Goethals,
    "Closed-form models for collaborative filtering with side-information", RecSys 2020). With the singular value
    decomposition A = U S V' and g = S² / (S² + l2) that weight is (V g V')_ij / (1 - (V g V')_jj): a dot product
    of ``V sqrt(g)`` and the same, scaled (:func:`scored`). The largest singular values are enough, and regularise a
    little further.

    Args:
        links: [2, num_links] int64 (user, movie) training links.
        features: [2, n] int64 (feature, movie) pairs.
        num_movies: size of the catalogue.
        channels: width of the vectors: how many singular values are kept.
        l2: the penalty.
        feature_weight: weight of a feature, where a rating counts 1.
        seed: seed of the randomised decomposition (Halko, Martinsson and Tropp, SIAM Review 2011).

    Returns:
        [num_movies, channels] float32 vectors of movies in a history. Channels beyond the rank of A are 0.
    """
    num_users, num_features = (int(pairs[0].max()) + 1 if pairs.numel() else 0 for pairs in (links, features))
    row, movie = torch.cat([links, features + torch.tensor([[num_users], [0]], device=features.device)], dim=1)
    value = torch.ones(row.numel(), device=row.device)
    value[links.size(1) :] = feature_weight
    shape = num_users + num_features, num_movies
    a, a_t = (
        adjacency(torch.stack([movie, row]), *shape, value),
        adjacency(torch.stack([row, movie]), *shape[::-1], value),
    )
    rank = min(channels, *shape)
    by_row = shape[0] < num_movies  # iterations cost the less the shorter their vectors are
    to, back = (a_t, a) if by_row else (a, a_t)
    # Drawn on the CPU, so that the same vectors come out on every device.
    q = torch.randn(min(shape), rank, generator=torch.Generator().manual_seed(seed)).to(row.device)
    for _ in range(_NUM_ITERATIONS):
        q = torch.linalg.qr(back @ (to @ q)).Q
    y = to @ q
    s_squared, u = torch.linalg.eigh(y.T @ y)
    s_squared = s_squared.clamp(min=0)
    # = V sqrt(g), without a division by small S
    source = (y @ u) * (s_squared + l2).rsqrt() if by_row else (q @ u) * (s_squared / (s_squared + l2)).sqrt()
    return F.pad(source.flip(1), (0, channels - rank))


def scored(source: Tensor) -> Tensor:
    """The vectors of movies that are scored, [num_movies, channels], from those of movies in a history."""
    return source / (1 - source.square().sum(dim=1, keepdim=True))


def with_penalty(source: Tensor, l2: float, other: float) -> Tensor:
    """The vectors of movies in a history, [num_movies, channels], at another penalty than the one they were made with.

    Their columns are ``V sqrt(g)``, so that g = S² / (S² + l2) is the squared length of each, and tells S².
    """
    return source * _ratio(source, l2, other)


def linear_scores(history: Tensor, source: Tensor, l2: float, other: float) -> Tensor:
    """[num_users, num_movies] what sums of vectors say at another penalty than the one that these were made with.

    Args:
        history: [num_users, channels] sums of ``source`` over the movies of users.
        source: [num_movies, channels] vectors of movies in a history.
        l2: the penalty that they were made with.
        other: the one wanted.
    """
    ratio = _ratio(source, l2, other).square()
    return (history * ratio) @ source.T / (1 - source.square() @ ratio)


def _ratio(source: Tensor, l2: float, other: float) -> Tensor:
    """[channels] what the columns are multiplied with."""
    g = source.square().sum(dim=0, dtype=torch.float64).clamp(max=1 - 1e-9)
    s_squared = l2 * g / (1 - g)
    ratio: Tensor = (s_squared / (s_squared + other) / g.clamp(min=1e-30)).sqrt().to(source.dtype)
    return ratio
