"""What the losses compare: a batch's links and non-links, and other movies that its users might have rated."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch_geometric.data import HeteroData
from torch_geometric.typing import NodeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.log_sum import log_sums

MAX_SCORES = 2**25
"""Of a step: of a catalogue with more for the users of a batch, training compares with a sample."""
LEAST = -1e4
"""The logarithm of a sum over nothing: a user may have rated everything."""


@dataclass(frozen=True)
class Candidates:
    """Movies that a link is compared with.

    Attributes:
        movie: [num] int64 node indices, each once.
        z: [num, channels] vectors.
        log_count: [num] or [1], log of how often each is drawn, on average; 0 for a whole catalogue.
        is_sample: whether there are other movies, too.
    """

    movie: Tensor
    z: Tensor
    log_count: Tensor
    is_sample: bool


def batch_candidates(z_movie: Tensor, batch: HeteroData) -> Candidates:
    """The movies of a batch's labels: drawn by popularity and, as negatives, uniformly."""
    place, counts = batch[RATES].edge_label_index[1].unique(return_counts=True)
    return Candidates(batch[MOVIE].node_id[place], z_movie[place], counts.log(), is_sample=True)


def catalogue_candidates(z: Tensor, num_users: int, max_scores: int = MAX_SCORES) -> Candidates:
    """All movies, or as many, drawn uniformly, as give ``num_users`` no more than ``max_scores`` scores.

    Args:
        z: [num_movies, channels] vectors of all movies.
        num_users: users that are scored.
        max_scores: bound.
    """
    number = max(1, min(len(z), max_scores // max(1, num_users)))
    log_count = z.new_tensor([number / len(z)]).log()
    if number == len(z):
        return Candidates(torch.arange(number, device=z.device), z, log_count, is_sample=False)
    movie = torch.randperm(len(z))[:number].sort().values.to(z.device)
    return Candidates(movie, z[movie], log_count, is_sample=True)


def unseen_scores(z_user: Tensor, z_movie: Tensor, user: Tensor, movie: Tensor) -> Tensor:
    """Scores of movies that users have not rated.

    Args:
        z_user: [num_users, channels] vectors.
        z_movie: [num_movies, channels] vectors.
        user: [num_seen] int64 rows of ``z_user``.
        movie: [num_seen] int64 rows of ``z_movie``: what that user has rated.

    Returns:
        [num_users, num_movies] float32, -inf where the user has rated the movie.
    """
    with torch.autocast(z_user.device.type, enabled=False):
        scores = z_user.float() @ z_movie.float().T
    return scores.index_put_((user, movie), scores.new_tensor(-torch.inf))


def log_normalizer(z_user: Tensor, z_movie: Tensor, user: Tensor, movie: Tensor) -> Tensor:
    """[num_users] logarithm of the sum of exp(score) over the movies that a user has not rated; -1e4 if there is none.

    Args:
        z_user: [num_users, channels] vectors.
        z_movie: [num_movies, channels] vectors of the whole catalogue.
        user: [num_seen] int64 rows of ``z_user``.
        movie: [num_seen] int64 rows of ``z_movie``: what that user has rated.
    """
    return log_sums(z_user, z_movie, user, movie).clamp(min=LEAST)


class BatchScores:
    """The scores of a batch, computed when they are first read: not every loss reads all.

    Args:
        z_dict: vectors by node type, as the encoder gives them.
        batch: the batch, with ``batch["user"].degree`` and, where non-links differ in weight, ``non_link_weight``.
        classifier: scores links, as :class:`DotProductClassifier` does.
        catalogue: [num_movies, channels - 1] vectors of all movies, if the logits are to be normalised over them
            (:class:`HistoryEncoder`). Default: the candidates are the movies of the batch's labels.
        user_exponent: links weigh as much as their user's degree to the power of minus this.
        mean_over_processes: the mean of a number over the processes that share a batch.
    """

    def __init__(
        self,
        z_dict: dict[NodeType, Tensor],
        batch: HeteroData,
        classifier: nn.Module,
        catalogue: Tensor | None = None,
        user_exponent: float = 0.0,
        mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self.label: Tensor = batch[RATES].edge_label
        self._z_user, self._z_movie = z_dict[USER], z_dict[MOVIE]
        self._batch, self._classifier, self._catalogue = batch, classifier, catalogue
        self._user_exponent, self._mean_over_processes = user_exponent, mean_over_processes
        self._index: Tensor = batch[RATES].edge_label_index
        self._link: Tensor = self._index[:, self.label > 0]
        self._users, self.user = self._link[0].unique(return_inverse=True)
        """Users with links, and [num_links] int64 the row of each link in ``candidates``."""

    @cached_property
    def logits(self) -> Tensor:
        """[num_labels] float32 logits of links and non-links."""
        logits: Tensor = self._classifier(self._z_user, self._z_movie, self._index)
        if self._catalogue is None:
            return logits
        log_z = self.log_normalizer.new_zeros(len(self._z_user))
        log_z[self._users] = self.log_normalizer
        others = self._others
        log_z[others] = self._log_sums(others)
        return logits - log_z.clamp(min=LEAST)[self._index[0]]

    @cached_property
    def log_normalizer(self) -> Tensor:
        """[num_users] log of the sum of exp(score) over all movies but those that are rated, or its estimate."""
        return self._log_sums(self._users)

    @cached_property
    def candidates(self) -> Tensor:
        """[num_users, num_candidates] scores of movies to compare with; -inf where the user has rated one.

        The users are those with links. A link's own movie is among the movies of a whole catalogue, and -inf in a
        sample.
        """
        return unseen_scores(*self._compared(self._users))

    @property
    def is_sample(self) -> bool:
        """Whether the candidates are a sample."""
        return self._drawn.is_sample

    @cached_property
    def positive(self) -> Tensor:
        """[num_links] score of each link, comparable with the candidates'."""
        channels = self._drawn.z.size(1)
        user, movie = self._link
        z_user, z_movie = self._z_user.index_select(0, user), self._z_movie.index_select(0, movie)
        return (z_user[:, :channels].float() * z_movie[:, :channels].float()).sum(dim=1)

    @cached_property
    def weight(self) -> Tensor:
        """[num_links] weight of each link; their sum is 1, on average over processes."""
        degree: Tensor = self._batch[USER].degree[self._link[0]]
        weight = degree.float().pow(-self._user_exponent)
        return weight / self._mean_over_processes(weight.sum())

    @cached_property
    def label_weight(self) -> Tensor | None:
        """[num_labels] what links (1) and non-links count; None: all the same."""
        weight = self._batch[USER].get("non_link_weight")
        return None if weight is None else weight[self._index[0]].where(self.label == 0, 1.0)

    @cached_property
    def _drawn(self) -> Candidates:
        if self._catalogue is None:
            return batch_candidates(self._z_movie, self._batch)
        return catalogue_candidates(self._catalogue, len(self._users) + len(self._others))

    @cached_property
    def _others(self) -> Tensor:
        """Users of non-links alone: no loss compares anything for them."""
        is_other = torch.zeros(len(self._z_user), dtype=torch.bool, device=self._index.device)
        is_other[self._index[0]] = True
        is_other[self._users] = False
        return is_other.nonzero().flatten()

    def _compared(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Vectors of users and candidates, and the rows of both that are not compared.

        Those are what a user has rated and, in a sample, its links.
        """
        drawn, nodes = self._drawn, self._batch[MOVIE].node_id
        movie, user = self._batch[REV_RATES].edge_index
        if drawn.is_sample:
            movie, user = torch.cat([movie, self._link[1]]), torch.cat([user, self._link[0]])
        row = _place(users, len(self._z_user))[user]
        column = _place(drawn.movie, int(nodes.max()) + 1)[nodes[movie]]
        is_shown = (row >= 0) & (column >= 0)
        z_user = self._z_user.index_select(0, users)[:, : drawn.z.size(1)]
        return z_user, drawn.z, row[is_shown], column[is_shown]

    def _log_sums(self, users: Tensor) -> Tensor:
        """[len(users)] logs of the sums of exp(score), each divided by how often its movie is drawn."""
        z_user, z_movie, row, column = self._compared(users)
        log_count = self._drawn.log_count
        if log_count.numel() == 1:
            return log_sums(z_user, z_movie, row, column) - log_count
        z_user = pad(z_user.float(), (0, 1), value=1.0)  # one more channel: a candidate's score less log_count
        return log_sums(z_user, torch.cat([z_movie.float(), -log_count[:, None]], dim=1), row, column)


def _place(values: Tensor, least_size: int) -> Tensor:
    """[size] int64, the place of each number in ``values``, which holds it at most once; -1 for the others."""
    size = max(least_size, int(values.max()) + 1) if values.numel() else least_size
    place = torch.full((size,), -1, device=values.device)
    place[values] = torch.arange(values.numel(), device=values.device)
    return place
