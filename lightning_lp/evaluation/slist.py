"""SLIST: which movies go together and which come after which, in one closed form."""

from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_lp.evaluation.queries import Links, Queries

Floats = NDArray[np.float32]
_NEGLIGIBLE = 1e-5


@dataclass
class SLIST:
    """Ridge regression of what a user did on all that they did, and of what came later on what came before.

    Choi, Kim, Lee, Shim and Lee, "Session-aware linear item-item models for session-based recommendation", WWW 2021,
    with a user's whole sequence as one session. SLIS regresses each sequence on itself. SLIT cuts it at each place and
    regresses the later movies on the earlier ones, both weighted by exp(-distance to the cut / decay). SLIST minimises
    alpha times the first loss plus (1 - alpha) times the second plus l2 |B|², and asks a history with weights
    exp(-(place - 1) / history_decay). Left out are the weights of sessions by age, as users have no one age. The sums
    over all cuts have a closed form, too, and no row for each cut is ever built.

    Args:
        alpha: share of SLIS.
        decay: the paper's delta_pos, in places.
        history_decay: its delta_inf, in places.
        l2: its lambda.
    """

    alpha: float = 0.1
    decay: float = 1.0
    history_decay: float = 8.0
    l2: float = 10.0
    weight: Floats = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Solves one system of equations as large as the catalogue."""
        together = (links.matrix.T @ links.matrix).toarray() * np.float32(self.alpha)
        gram, target = together, together.copy()
        ordered = links.sequences
        rate = np.exp(-1 / self.decay)
        num_steps = int(np.ceil(np.log(_NEGLIGIBLE) / np.log(rate)))
        _add_cuts(ordered.indptr.numpy(), ordered.node.numpy(), rate, num_steps, 1 - self.alpha, gram, target)
        np.fill_diagonal(gram, gram.diagonal() + self.l2)
        self.weight = cho_solve(cho_factor(gram, overwrite_a=True), target, overwrite_b=True)

    def score(self, queries: Queries) -> Tensor:
        """Follows the history and its order."""
        place = queries.history.sequences.place.numpy()
        weight = np.exp((1 - place) / self.history_decay).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(queries.history.weighted(weight) @ self.weight))

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """The Gram matrix, what it is to give, and a copy of each on the way."""
        return 4 * 4 * num_movies**2 + 16 * num_links


@numba.njit(cache=True, nogil=True)
def _add_cuts(
    indptr: NDArray[np.int64],
    movie: NDArray[np.int64],
    rate: float,
    num_steps: int,
    share: float,
    gram: Any,
    target: Any,
) -> None:
    """Adds S'S of all cuts to ``gram`` and S'T to ``target``, both [num_movies, num_movies].

    S has a row for each cut t of a sequence of n, with rate^(t - i) at each i up to t, and T has rate^(j - t - 1) at
    each j after it. For i <= j so far apart, the sums over t are geometric: rate^(j - i) (1 - rate^(2 (n - 1 - j))) /
    (1 - rate^2), and (j - i) rate^(j - i - 1).
    """
    for user in range(len(indptr) - 1):
        last = indptr[user + 1] - 1
        for j in range(indptr[user], last + 1):
            cuts = share * (1 - rate ** (2 * (last - j))) / (1 - rate**2)
            gram[movie[j], movie[j]] += cuts
            for i in range(max(indptr[user], j - num_steps), j):
                power = rate ** (j - i - 1)
                gram[movie[i], movie[j]] += cuts * power * rate
                gram[movie[j], movie[i]] += cuts * power * rate
                target[movie[i], movie[j]] += share * (j - i) * power
