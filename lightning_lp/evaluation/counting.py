"""Baselines that count: popularity, of all times or of a window, and degrees."""

from dataclasses import dataclass, field

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_lp.evaluation.queries import Links, Queries


@dataclass
class Popularity:
    """The number of training links of the movie: the same list for everybody."""

    num_raters: Tensor = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Counts."""
        self.num_raters = torch.from_numpy(links.matrix.getnnz(axis=0)).float()

    def score(self, queries: Queries) -> Tensor:
        """The counts of training, whatever the history."""
        return self.num_raters.repeat(queries.users.numel(), 1)

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

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Counts."""
        degrees = (torch.from_numpy(links.matrix.getnnz(axis=axis)).float() for axis in (1, 0))
        self.log_degree_user, self.log_degree_movie = (degree.log1p() for degree in degrees)

    def score(self, queries: Queries) -> Tensor:
        """The sums of training, whatever the history."""
        return self.log_degree_user[queries.users, None] + self.log_degree_movie

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """One number for each node."""
        return 8 * (num_users + num_movies)


@dataclass
class PopularityWindow:
    """How many links a movie got in the time before a query, of all that is known then.

    Popularity that fades (Ji et al., "A re-visit of the popularity baseline in recommender systems", SIGIR 2020). Where
    times are places in a user's own order, a window says nothing.

    Args:
        days: length of the window, where times are seconds.
        at_end: the window ends where what is known of all users ends, and not at the query's own time. Where history
            is frozen, a user who has long been away is then asked now; where it rolls, both are the same.
    """

    days: float = 365.0
    at_end: bool = False
    num_raters: Tensor = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Counts all links: they are what is left where times are unknown."""
        self.num_raters = torch.from_numpy(links.matrix.getnnz(axis=0)).float()

    def score(self, queries: Queries) -> Tensor:
        """Follows what is known of all users."""
        known = queries.known.sequences
        if known.time is None or queries.time is None or queries.until is None:
            return self.num_raters.repeat(queries.users.numel(), 1)
        time, order = known.time.sort(stable=True)
        asked = (queries.until if self.at_end else queries.time).contiguous()
        end = torch.searchsorted(time, asked)
        start = torch.searchsorted(time, asked - int(self.days * 86_400))
        return _counts_between(known.node[order], start, end, queries.known.num_movies)

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """The links in order of time, and two counts for each of 256 queries at once."""
        return 3 * 8 * num_links + 2 * 256 * 8 * num_movies


def _counts_between(movie: Tensor, start: Tensor, end: Tensor, num_movies: int) -> Tensor:
    """[num, num_movies] float32, how often each movie is in ``movie[start:end]`` of each query."""
    bounds = torch.unique(torch.cat([start, end]))
    piece = torch.bucketize(torch.arange(movie.numel()), bounds, right=True)
    counts = torch.bincount(piece * num_movies + movie, minlength=(bounds.numel() + 1) * num_movies)
    up_to = counts.view(-1, num_movies).cumsum(dim=0)  # row i: before bounds[i]
    return (up_to[torch.searchsorted(bounds, end)] - up_to[torch.searchsorted(bounds, start)]).float()
