"""Baselines of collaborative filtering, by the library ``implicit``: neighbours of movies, and matrix factorisation."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import all_pairs_knn
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from threadpoolctl import threadpool_limits
from torch import Tensor

from lightning_lp.evaluation.queries import Links, Queries


@dataclass
class ItemKNN:
    """The cosine similarities of a movie to those of its nearest neighbours that the user has rated, summed.

    Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001, for links without
    ratings (Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004).

    Args:
        num_neighbors: movies that each movie is scored by.
    """

    num_neighbors: int = 50
    weight: csr_matrix = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Finds the neighbours of each movie."""
        norm = np.sqrt(np.maximum(links.matrix.getnnz(axis=0), 1))
        unit = csr_matrix(links.matrix.astype(np.float64) @ diags(1 / norm))
        # A movie is its own nearest neighbour: one more is asked for.
        weight = all_pairs_knn(unit, self.num_neighbors + 1, show_progress=False).tocsr()
        weight.setdiag(0)
        self.weight = weight.T.tocsr()

    def score(self, queries: Queries) -> Tensor:
        """Follows the history."""
        return _float32((queries.history.matrix @ self.weight).toarray())

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Neighbours twice, and the links in another format."""
        return 3 * 16 * (num_movies * (self.num_neighbors + 1) + num_links)


@dataclass
class IALS:
    """Matrix factorisation by alternating least squares on all pairs, unrated ones with a smaller weight.

    Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008, by the library
    ``implicit``.

    Args:
        factors: width of the factors.
        regularization: L2 penalty.
        alpha: weight of a link, where an unrated pair has 1.
        iterations: passes of alternating least squares.
    """

    factors: int = 64
    regularization: float = 40.0
    alpha: float = 5.0
    iterations: int = 15
    model: Any = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Factorises."""
        self.model = AlternatingLeastSquares(
            self.factors, self.regularization, self.alpha, iterations=self.iterations, random_state=seed
        )
        with threadpool_limits(1, "blas"):  # the library warns if BLAS has threads besides its own
            self.model.fit(links.matrix, show_progress=False)

    def score(self, queries: Queries) -> Tensor:
        """Follows the history: the users' factors are computed from it."""
        with threadpool_limits(1, "blas"):
            factors = self.model.recalculate_user(queries.users.numpy(), queries.history.matrix)
        return _float32(np.atleast_2d(factors) @ self.model.item_factors.T)

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Factors, and the links and their transpose."""
        return 2 * 4 * self.factors * (num_users + num_movies) + 3 * 12 * num_links


def _float32(scores: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(scores, np.float32))
