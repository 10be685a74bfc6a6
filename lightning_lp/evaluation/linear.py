"""Linear models in closed form: EASE and EDLAE, with and without features, and the model's own linear part."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_matrix, diags, vstack
from torch import Tensor

from lightning_lp.evaluation.queries import Links, Queries
from lightning_lp.model.encoders.spectral import feature_weight_of, scored, spectral_embeddings

Floats = NDArray[np.float64]
_BLOCK = 1024
"""Rows or columns of a Gram matrix that are computed at once."""


@dataclass
class EASE:
    """Linear regression of each movie on all others, in closed form.

    Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019: with P the inverse of X'X + D the weight of
    movie i for movie j is -P[i, j] / P[j, j], and 0 for i = j; there D is l2 I. The rows of X are the users and, times
    ``feature_weight``, the features (Jeunen, Van Balen and Goethals, "Closed-form models for collaborative filtering
    with side-information", RecSys 2020). With ``dropout`` p it is EDLAE (Steck, "Autoencoders that don't overfit
    towards the identity", NeurIPS 2020): what is regressed on loses each entry with that probability, which in the
    mean adds p / (1 - p) times the diagonal of X'X to D. Where there are less than half as many rows as movies,
    P = D^-1 - D^-1 X' K X D^-1 with K the inverse of X D^-1 X' + I: the same numbers by a smaller inverse, from which
    scores take longer.

    Args:
        l2: the paper's lambda, above 0.
        feature_weight: weight of a feature, where a link counts 1; 0: from the links alone.
        dropout: probability, from 0 to below 1; 0: EASE.
    """

    l2: float = 300.0
    feature_weight: float = 0.0
    dropout: float = 0.0
    penalty: Floats = field(init=False, repr=False)
    inverse: Floats = field(init=False, repr=False)
    diagonal: Floats = field(init=False, repr=False)
    rows: csr_matrix | None = field(init=False, repr=False, default=None)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Inverts one of the two Gram matrices."""
        blocks = [links.matrix, features * self.feature_weight] if self.feature_weight else [links.matrix]
        matrix = vstack(blocks, "csr").astype(np.float64)
        num_rows, num_movies = matrix.shape
        counts = np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
        self.penalty = self.l2 + self.dropout / (1 - self.dropout) * counts
        is_dual = _is_dual(num_rows, num_movies)
        gram = _product(matrix @ diags(1 / self.penalty), matrix.T) if is_dual else _product(matrix.T, matrix)
        np.fill_diagonal(gram, gram.diagonal() + (1 if is_dual else self.penalty))
        self.inverse = _inverted(gram)
        self.rows = matrix if is_dual else None
        self.diagonal = self._dual_diagonal(matrix) if is_dual else self.inverse.diagonal()

    def score(self, queries: Queries) -> Tensor:
        """Follows the history."""
        return self.score_rows(queries.history.matrix)

    def score_rows(self, rows: csr_matrix) -> Tensor:
        """[num, num_movies] float32 scores of histories with any weights, [num, num_movies]."""
        known = rows.astype(np.float64)
        if self.rows is None:
            projected = known @ self.inverse
        else:
            scaled = known @ diags(1 / self.penalty)
            projected = (known - ((scaled @ self.rows.T) @ self.inverse) @ self.rows) / self.penalty
        return torch.from_numpy(np.ascontiguousarray(known - projected / self.diagonal, np.float32))

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """The Gram matrix, which its inverse replaces, a block of it as a sparse matrix, and the links three times."""
        num_rows = num_users + (num_features if self.feature_weight else 0)
        size = num_rows if _is_dual(num_rows, num_movies) else num_movies
        return 8 * size**2 + 24 * min(size, _BLOCK) * size + 3 * 12 * num_links

    def _dual_diagonal(self, matrix: csr_matrix) -> Floats:
        columns = matrix.tocsc()
        blocks = (columns[:, start : start + _BLOCK] for start in range(0, matrix.shape[1], _BLOCK))
        explained = [np.asarray(block.multiply(self.inverse @ block).sum(axis=0)).ravel() for block in blocks]
        diagonal: Floats = (1 - np.concatenate(explained) / self.penalty) / self.penalty
        return diagonal


def _is_dual(num_rows: int, num_movies: int) -> bool:
    return 2 * num_rows < num_movies


def _product(left: csr_matrix, right: csr_matrix) -> Floats:
    """[num, num] float64 product of sparse matrices that is dense: as a sparse one it would take twice the memory."""
    left, product = left.tocsr(), np.empty((left.shape[0], right.shape[1]))
    for start in range(0, left.shape[0], _BLOCK):
        (left[start : start + _BLOCK] @ right).toarray(out=product[start : start + _BLOCK])
    return product


def _inverted(matrix: Floats) -> Floats:
    """The inverse of a symmetric, positive definite matrix, in its place."""
    factor, failed = dpotrf(matrix.T, overwrite_a=True, clean=False)
    if not failed:
        _, failed = dpotri(factor, overwrite_c=True)
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix is not positive definite: a larger l2 is wanted")
    for start in range(0, len(matrix), _BLOCK):  # LAPACK gives one triangle: below the diagonal, by rows
        rows = slice(start, start + _BLOCK)
        matrix[:start, rows] = matrix[rows, :start].T
        matrix[rows, rows] = np.tril(matrix[rows, rows]) + np.tril(matrix[rows, rows], -1).T
    return matrix


@dataclass
class TimeWeightedLinear:
    """EASE with features, whose histories weigh a movie the less the longer ago it was rated.

    The weights are those of training, where time plays no part: place ** -power, the latest having place 1, is for
    the history alone, as the decay of Choi et al., "Session-aware linear item-item models for session-based
    recommendation", WWW 2021, section 3.4, is; theirs is exponential.

    Args:
        l2: the penalty of :class:`EASE`.
        feature_weight: weight of a feature.
        power: how fast weights fall; 0: all are 1.
    """

    l2: float = 75.0
    feature_weight: float = 2.0
    power: float = 0.5
    ease: EASE = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Fits EASE."""
        self.ease = EASE(self.l2, self.feature_weight)
        self.ease.fit(links, features, seed)

    def score(self, queries: Queries) -> Tensor:
        """Follows the history and its order."""
        place = queries.history.sequences.place.numpy().astype(np.float64)
        return self.ease.score_rows(queries.history.weighted(place**-self.power))

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """As EASE."""
        return EASE(self.l2, self.feature_weight).memory(num_users, num_movies, num_links, num_features)


@dataclass
class LinearPart:
    """What the encoder ``history`` adds to its learned scores, alone: EASE with features, cut off after some channels.

    Args:
        channels: how many singular values are kept (``--model.encoder.spectral_channels``).
        l2: the penalty (``--model.encoder.spectral_l2``).
    """

    channels: int = 1536
    l2: float = 150.0
    source: Tensor = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Computes the vectors of the movies, as the encoder does before training."""
        ends, pairs = (torch.from_numpy(np.stack(rows.nonzero()).astype(np.int64)) for rows in (links.matrix, features))
        weight = feature_weight_of(links.matrix.shape[0])
        self.source = spectral_embeddings(ends, pairs, links.num_movies, self.channels, self.l2, weight)

    def score(self, queries: Queries) -> Tensor:
        """Follows the history."""
        z_user = torch.from_numpy(queries.history.matrix @ self.source.numpy())
        return z_user @ scored(self.source).T

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Vectors of rows and movies, each with two copies on the way, and the links in two orders."""
        return 3 * 4 * self.channels * (num_users + num_features + num_movies) + 2 * 24 * num_links
