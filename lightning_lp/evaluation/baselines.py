"""The models to beat, from counting to matrix factorisation, all fitted and asked for scores in one way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import all_pairs_knn
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from threadpoolctl import threadpool_limits
from torch import Tensor

from lightning_lp.data.rating_graph import RatingGraph
from lightning_lp.data.schema import MOVIE
from lightning_lp.evaluation.linear import EASE
from lightning_lp.evaluation.pairwise import BPR
from lightning_lp.model.encoders.spectral import feature_rows


class Baseline(Protocol):
    """A model to compare with; it is offered all that ours knows. Its fields are its hyper-parameters."""

    def fit(self, user_item: csr_matrix, features: csr_matrix, seed: int) -> None:
        """Learns.

        Args:
            user_item: [num_users, num_movies] float32, 1 at each training link.
            features: [num_features, num_movies] float32, 1 where a movie has a feature, as :func:`feature_matrix`.
            seed: seed of what is drawn.
        """

    def score(self, users: Tensor, history: csr_matrix) -> Tensor:
        """Scores all movies.

        Args:
            users: [num] int64 indices of users.
            history: [num_users, num_movies] float32, 1 where a user is known to have rated: the training links or
                more. Models that need no user parameters (or can compute them) follow it without being fitted anew.

        Returns:
            [num, num_movies] float32.
        """

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Bytes that fitting takes, about."""


@dataclass
class Popularity:
    """The number of training links of the movie: the same list for everybody."""

    num_raters: Tensor = field(init=False, repr=False)

    def fit(self, user_item: csr_matrix, features: csr_matrix, seed: int) -> None:
        """Counts."""
        self.num_raters = torch.from_numpy(user_item.getnnz(axis=0)).float()

    def score(self, users: Tensor, history: csr_matrix) -> Tensor:
        """The counts of training, whatever the history."""
        return self.num_raters.repeat(users.numel(), 1)

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """One number for each movie."""
        return 8 * num_movies


@dataclass
class DegreeSum:
    """Log-degree of the user plus log-degree of the movie, in training.

    The logarithm of preferential attachment (Liben-Nowell and Kleinberg, "The link-prediction problem for social
    networks", JASIST 2007). It ranks as popularity does; its AUROC shows how far one gets without learning anything.
    """

    log_degree_user: Tensor = field(init=False, repr=False)
    log_degree_movie: Tensor = field(init=False, repr=False)

    def fit(self, user_item: csr_matrix, features: csr_matrix, seed: int) -> None:
        """Counts."""
        degrees = (torch.from_numpy(user_item.getnnz(axis=axis)).float() for axis in (1, 0))
        self.log_degree_user, self.log_degree_movie = (degree.log1p() for degree in degrees)

    def score(self, users: Tensor, history: csr_matrix) -> Tensor:
        """The sums of training, whatever the history."""
        return self.log_degree_user[users, None] + self.log_degree_movie

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """One number for each node."""
        return 8 * (num_users + num_movies)


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

    def fit(self, user_item: csr_matrix, features: csr_matrix, seed: int) -> None:
        """Finds the neighbours of each movie."""
        norm = np.sqrt(np.maximum(user_item.getnnz(axis=0), 1))
        unit = csr_matrix(user_item.astype(np.float64) @ diags(1 / norm))
        # A movie is its own nearest neighbour: one more is asked for.
        weight = all_pairs_knn(unit, self.num_neighbors + 1, show_progress=False).tocsr()
        weight.setdiag(0)
        self.weight = weight.T.tocsr()

    def score(self, users: Tensor, history: csr_matrix) -> Tensor:
        """Follows the history."""
        return _float32((history[users.numpy()] @ self.weight).toarray())

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

    def fit(self, user_item: csr_matrix, features: csr_matrix, seed: int) -> None:
        """Factorises."""
        self.model = AlternatingLeastSquares(
            self.factors, self.regularization, self.alpha, iterations=self.iterations, random_state=seed
        )
        with threadpool_limits(1, "blas"):  # the library warns if BLAS has threads besides its own
            self.model.fit(user_item, show_progress=False)

    def score(self, users: Tensor, history: csr_matrix) -> Tensor:
        """Follows the history: the users' factors are computed from it."""
        rows = users.numpy()
        with threadpool_limits(1, "blas"):
            factors = self.model.recalculate_user(rows, history[rows])
        return _float32(np.atleast_2d(factors) @ self.model.item_factors.T)

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Factors, and the links and their transpose."""
        return 2 * 4 * self.factors * (num_users + num_movies) + 3 * 12 * num_links


@dataclass(frozen=True)
class Candidate:
    """A baseline with its defaults, chosen on the validation part of ml-latest-small, and a small search.

    Attributes:
        baseline: the defaults.
        grid: changes of the defaults that the search tries.
    """

    baseline: Baseline
    grid: tuple[Mapping[str, float], ...] = ({},)


BASELINES: Mapping[str, Candidate] = {
    "degree sum": Candidate(DegreeSum()),
    "popularity": Candidate(Popularity()),
    "ItemKNN": Candidate(ItemKNN(), tuple({"num_neighbors": n} for n in (20, 50, 100, 200))),
    "iALS": Candidate(
        IALS(),
        tuple(
            {"factors": f, "regularization": r, "alpha": a}
            for f in (64, 128)
            for r, a in ((10, 1), (20, 1), (20, 2), (40, 2), (40, 5), (60, 10))
        ),
    ),
    "EASE": Candidate(EASE(), tuple({"l2": value} for value in (30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0))),
    "EASE + features": Candidate(
        EASE(l2=150.0, feature_weight=2.0),
        tuple(
            {"l2": float(value), "feature_weight": float(w)}
            for value, w in ((75, 2), (100, 2), (100, 3), (150, 2), (150, 3), (300, 3), (300, 5), (1000, 5))
        ),
    ),
    "BPR-MF": Candidate(BPR(), tuple({"penalty": p, "lr": lr} for p in (1e-3, 4e-3) for lr in (0.003, 0.01))),
    "LightGCN": Candidate(
        BPR(num_layers=2, lr=0.05, penalty=1e-3),
        tuple({"num_layers": n, "lr": lr} for n in (1, 2) for lr in (0.02, 0.05)),
    ),
}
"""By name, in the order of the comparison."""


def link_matrix(links: Tensor, num_users: int, num_movies: int) -> csr_matrix:
    """Turns [2, num_links] int64 links into a sparse matrix: float32, 1 at each."""
    ones = np.ones(links.size(1), np.float32)
    return csr_matrix((ones, tuple(links.numpy())), shape=(num_users, num_movies))


def feature_matrix(graph: RatingGraph) -> csr_matrix:
    """The movies' genres, then the terms of their titles, as rows [num_features, num_movies]: float32, 1 at each."""
    movies = graph.data[MOVIE]
    num_terms = len(graph.title_vocabulary)
    num_features = len(graph.genre_vocabulary) + num_terms
    return link_matrix(feature_rows(movies.x, movies.terms, num_terms), num_features, len(graph.movies))


def _float32(scores: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(scores, np.float32))
