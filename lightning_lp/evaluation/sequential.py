"""Sequential rules: which movie follows which, counted."""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_lp.evaluation.queries import Links, Queries


@dataclass
class SequentialRules:
    """How often a movie came after those of the history, the nearer the more.

    Ludewig and Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 2018, section 3.2.3: a rule from
    one movie to another gains 1 / distance each time that a user rated the second so many steps after the first. There
    the last movie alone is asked for its rules; here those before it can be, too, with weight 1 / place.

    Args:
        num_steps: greatest distance of a rule.
        num_last: how many of the latest movies of a history are asked.
    """

    num_steps: int = 20
    num_last: int = 10
    weight: csr_matrix = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Counts."""
        movie, user = links.sequences.node.numpy(), links.sequences.source.numpy()
        shape = (links.num_movies, links.num_movies)
        self.weight = csr_matrix(shape, dtype=np.float32)
        for step in range(1, self.num_steps + 1):
            is_same = user[step:] == user[:-step]
            first, then = movie[:-step][is_same], movie[step:][is_same]
            if not len(first):
                break
            self.weight += csr_matrix((np.full(len(first), 1 / step, np.float32), (first, then)), shape=shape)

    def score(self, queries: Queries) -> Tensor:
        """Follows the history and its order."""
        place = queries.history.sequences.place.numpy()
        weight = np.where(place <= self.num_last, 1 / place, 0).astype(np.float32)
        return torch.from_numpy((queries.history.weighted(weight) @ self.weight).toarray())

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """The rules, twice while they are added up."""
        return 2 * 12 * min(self.num_steps * num_links, num_movies**2) + 16 * num_links
