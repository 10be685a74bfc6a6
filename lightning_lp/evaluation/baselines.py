"""The models to beat, all fitted and asked for scores in one way, and the settings that the search tries for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_lp.data.rating_graph import RatingGraph
from lightning_lp.data.schema import MOVIE
from lightning_lp.evaluation.collaborative import IALS, ItemKNN
from lightning_lp.evaluation.counting import DegreeSum, Popularity, PopularityWindow
from lightning_lp.evaluation.linear import EASE, TimeWeightedLinear
from lightning_lp.evaluation.pairwise import BPR
from lightning_lp.evaluation.queries import Links, Queries, make_links
from lightning_lp.evaluation.sasrec import SASRec
from lightning_lp.evaluation.sequential import SequentialRules
from lightning_lp.evaluation.slist import SLIST
from lightning_lp.model.encoders.spectral import feature_rows


class Baseline(Protocol):
    """A model to compare with; it is offered all that ours knows. Its fields are its hyper-parameters."""

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Learns.

        Args:
            links: the training links, with their times where the split is by time.
            features: [num_features, num_movies] float32, 1 where a movie has a feature, as :func:`feature_matrix`.
            seed: seed of what is drawn.
        """

    def score(self, queries: Queries) -> Tensor:
        """Scores all movies.

        Args:
            queries: who asks, when, and what they are known to have rated: the training links or more. Models that
                need no user parameters (or can compute them) follow it without being fitted anew.

        Returns:
            [num, num_movies] float32.
        """

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Bytes that fitting takes, about."""


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
    "EASE": Candidate(EASE(), tuple({"l2": float(value)} for value in (30, 50, 75, 100, 150, 200, 300, 500, 1000))),
    "EASE + features": Candidate(
        EASE(l2=150.0, feature_weight=2.0),
        tuple(
            {"l2": float(value), "feature_weight": float(w)}
            for value, w in ((75, 2), (100, 2), (100, 3), (150, 2), (150, 3), (300, 3), (300, 5), (1000, 5))
        ),
    ),
    "EDLAE": Candidate(
        EASE(l2=150.0, dropout=0.2),
        tuple({"l2": float(value), "dropout": p} for value in (75, 150, 300, 600) for p in (0.2, 0.33, 0.5)),
    ),
    "EDLAE + features": Candidate(
        EASE(l2=150.0, feature_weight=3.0, dropout=0.2),
        tuple(
            {"l2": float(value), "feature_weight": float(w), "dropout": p}
            for value, w in ((75, 2), (150, 3), (300, 5), (600, 5))
            for p in (0.2, 0.33, 0.5)
        ),
    ),
    "BPR-MF": Candidate(BPR(), tuple({"penalty": p, "lr": lr} for p in (1e-3, 4e-3) for lr in (0.003, 0.01))),
    "LightGCN": Candidate(
        BPR(num_layers=2, lr=0.05, penalty=1e-3),
        tuple({"num_layers": n, "lr": lr} for n in (1, 2) for lr in (0.02, 0.05)),
    ),
}
"""By name, in the order of the comparison."""

_ALL_DAYS = 36_500.0

BY_TIME: Mapping[str, Candidate] = {
    "popularity now": Candidate(
        PopularityWindow(),
        tuple({"days": d, "at_end": end} for d in (30.0, 90.0, 365.0, 730.0, _ALL_DAYS) for end in (False, True)),
    ),
    "sequential rules": Candidate(
        SequentialRules(),
        tuple({"num_steps": n, "num_last": last} for n in (10, 20, 50) for last in (1, 3, 10, 50)),
    ),
    "EASE by recency": Candidate(
        TimeWeightedLinear(),
        tuple(
            {"l2": l2, "feature_weight": w, "power": p}
            for l2, w in ((75.0, 2.0), (150.0, 2.0), (300.0, 3.0), (1000.0, 5.0))
            for p in (0.5, 0.75, 1.0)
        ),
    ),
    "SLIST": Candidate(
        SLIST(),
        tuple({"alpha": a, "decay": d, "history_decay": h} for a in (0.1, 0.4) for d in (1.0, 2.0) for h in (2.0, 8.0)),
    ),
    "SASRec": Candidate(SASRec(), tuple({"dropout": p} for p in (0.2, 0.5))),
}
"""More of them, for splits by time: they read the times of links, or their order."""


def candidates(is_by_time: bool) -> Mapping[str, Candidate]:
    """The baselines of a split by name, in the order of the comparison."""
    return {**BASELINES, **BY_TIME} if is_by_time else BASELINES


def feature_matrix(graph: RatingGraph) -> csr_matrix:
    """The movies' genres, then the terms of their titles, as rows [num_features, num_movies]: float32, 1 at each."""
    movies = graph.data[MOVIE]
    num_terms = len(graph.title_vocabulary)
    num_features = len(graph.genre_vocabulary) + num_terms
    return make_links(feature_rows(movies.x, movies.terms, num_terms), num_features, len(graph.movies)).matrix
