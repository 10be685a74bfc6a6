"""The question "what next?": who asks, when, and what they are known to have done before."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.data.settings import History
from lightning_lp.graph.sequences import Sequences, ranges, sequences
from lightning_lp.model.rolling import rolling_links


@dataclass(frozen=True)
class Links:
    """Links of users and movies, as a matrix and in order of time.

    Attributes:
        sequences: the links of each user, or in :class:`Queries` of each query; its times are None where unknown.
        num_movies: size of the catalogue.
    """

    sequences: Sequences
    num_movies: int

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of users and of movies."""
        return self.sequences.num_sources, self.num_movies

    @cached_property
    def matrix(self) -> csr_matrix:
        """[num_users, num_movies] float32, 1 at each link."""
        return self.weighted(np.ones(self.sequences.node.numel(), np.float32))

    def weighted(self, weight: np.ndarray) -> csr_matrix:
        """The same with another value at each link: ``weight`` [num_links], in the order of ``sequences``."""
        ordered = self.sequences
        matrix = csr_matrix((weight, ordered.node.numpy(), ordered.indptr.numpy()), shape=self.shape)
        matrix.sum_duplicates()
        return matrix

    def queries(self, users: Tensor) -> "Queries":
        """What comes next for each user, if all these links are known.

        Args:
            users: [num] int64.
        """
        indptr, time = self.sequences.indptr, self.latest(users)
        until = None if time is None or self.sequences.time is None else self.sequences.time.max() + 1
        history = self._between(indptr[users], indptr[users + 1])
        return Queries(users, time, history, self, None if until is None else until.expand_as(users))

    def latest(self, users: Tensor) -> Tensor | None:
        """[num] int64, the time of the latest link of each user, of one without links that of the latest of all."""
        ordered = self.sequences
        if ordered.time is None or not ordered.time.numel():
            return None
        start, end = ordered.indptr[users], ordered.indptr[users + 1]
        return torch.where(end > start, ordered.time[(end - 1).clamp(min=0)], ordered.time.max())

    def queries_at(self, users: Tensor, time: Tensor) -> "Queries":
        """What comes next for each user, if what is strictly earlier than a time is known.

        Args:
            users: [num] int64.
            time: [num] int64.
        """
        ordered = self.sequences
        history = self._between(ordered.indptr[users], ordered.end_before(users, time))
        return Queries(users, time, history, self, time)

    def _between(self, start: Tensor, end: Tensor) -> "Links":
        """The links at ``start`` to before ``end`` as those of one user after the other."""
        ordered = self.sequences
        place, indptr = ranges(start, end)
        time = None if ordered.time is None else ordered.time[place]
        return Links(Sequences(indptr, ordered.node[place], time, ordered.edge[place]), self.num_movies)


@dataclass(frozen=True)
class Queries:
    """Questions.

    Attributes:
        users: [num] int64, who asks.
        time: [num] int64, when; None where times are unknown.
        history: what each is known to have done: row i is that of query i.
        known: links of all users.
        until: [num] int64, when what is known ends: of ``known`` a query may read what is strictly earlier. None where
            times are unknown.
    """

    users: Tensor
    time: Tensor | None
    history: Links
    known: Links
    until: Tensor | None


def make_links(edge_index: Tensor, num_users: int, num_movies: int, time: Tensor | None = None) -> Links:
    """Links from pairs.

    Args:
        edge_index: [2, num_links] int64 (user, movie), in any order.
        num_users: number of users.
        num_movies: size of the catalogue.
        time: [num_links] int64 times.
    """
    return Links(sequences(edge_index, time, num_users), num_movies)


def known_links(graph: HeteroData, history: History = "frozen") -> Links:
    """What may be known in a part of the split: its messages, and where history is rolling its held-out links, too.

    Args:
        graph: ``split.val`` or ``split.test``.
        history: what a query is; ``rolling`` needs a split by time.
    """
    store = graph[RATES]
    links, time = store.edge_index, store.time if is_by_time(graph) else None
    if history == "rolling":
        links, time = rolling_links(graph)
    return make_links(links, graph[USER].num_nodes, graph[MOVIE].num_nodes, time)


def is_by_time(graph: HeteroData) -> bool:
    """Whether a part is of a split by time: its labels then have times."""
    return "edge_label_time" in graph[RATES] and "time" in graph[RATES]


def queries_of_labels(graph: HeteroData, history: History, chosen: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """The distinct queries that labels belong to.

    Args:
        graph: ``split.val`` or ``split.test``.
        history: what a query is.
        chosen: [num_labels] bool, the labels to look at.

    Returns:
        [num] int64 users, ascending; [num] int64 times, ascending for each user, as in :meth:`Links.queries` where
        history is frozen, None where the split is not by time; and [num_chosen] int64, the query of each chosen label.
    """
    user = graph[RATES].edge_label_index[0, chosen]
    if history == "frozen":
        users, row = torch.unique(user, return_inverse=True)
        return users, known_links(graph).latest(users) if is_by_time(graph) else None, row
    time = graph[RATES].edge_label_time[chosen]
    found, row = torch.unique(torch.stack([user, time]), dim=1, return_inverse=True)
    return found[0], found[1], row
