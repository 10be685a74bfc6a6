"""What a history says of the next movie in closed form, with penalty and weights that the data choose."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_lp.graph.messages import adjacency
from lightning_lp.graph.sequences import Sequences, sequences
from lightning_lp.model.encoders.spectral import scored, spectral_embeddings
from lightning_lp.model.encoders.transitions import (
    core_movies,
    history_weights,
    ridge_regression,
    transition_embeddings,
    transition_grams,
)

_POWERS = 0.5, 1.0
"""How fast a link counts less in a history, for transitions and for similarities."""
_PENALTIES = 3.0, 10.0, 30.0, 100.0, 300.0
_SHARES = 0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0
"""What similarities may count beside transitions."""
_SPECTRAL_L2 = 150.0
_SCALES = tuple(2.0**power for power in range(10))
"""What scores may be multiplied with, so that they are the logits of a softmax."""
_MAX_JUDGED = 1024
"""Users whose last movie the weights are chosen by."""
_MAX_MOVIES = 4096
"""Of the transitions that are kept; the work grows with the third power."""
_MAX_TRIED = 2048
"""Of the transitions that the penalty is chosen by."""


class Widths(NamedTuple):
    """Channels of each part; 0: it is left out."""

    transitions: int
    spectral: int


class ClosedForm(nn.Module):
    """Transitions and linear similarities, each a dot product of a user's weighted history and a movie.

    Args:
        num_movies: size of the catalogue.
        widths: channels of each part.
        length: how many of the latest movies of a user count.

    Attributes:
        weight: [2] float32: what transitions and similarities count in a score.
    """

    transition_source: Tensor
    transition_target: Tensor
    spectral_source: Tensor
    weight: Tensor

    def __init__(self, num_movies: int, widths: Widths, length: int) -> None:
        super().__init__()
        self.length, self.widths = length, widths
        self.register_buffer("transition_source", torch.zeros(num_movies, widths.transitions))
        self.register_buffer("transition_target", torch.zeros(num_movies, widths.transitions))
        self.register_buffer("spectral_source", torch.zeros(num_movies, widths.spectral))
        self.register_buffer("weight", torch.zeros(2))

    def prepare(self, history: Sequences, features: Tensor) -> None:
        """Fits to the training links. What it has to choose it chooses by the last link of each user.

        Args:
            history: the training links of each user in order.
            features: [2, n] int64 (feature, movie) pairs, as ``feature_rows`` gives them.
        """
        l2 = self._choose(*_without_last(history), features)
        self._fit_spectral(history, features)
        self._fit_transitions(history, l2)

    def users(self, history: Sequences) -> Tensor:
        """[num_users, channels] vectors of users."""
        transitions, similarities = (self._weighted(history, power) for power in _POWERS)
        parts = [
            transitions @ self.transition_source * self.weight[0],
            similarities @ self.spectral_source * self.weight[1],
        ]
        return torch.cat(parts, dim=1)

    def movies(self) -> Tensor:
        """[num_movies, channels] vectors of movies that may come next."""
        return torch.cat([self.transition_target, scored(self.spectral_source)], dim=1)

    def _weighted(self, history: Sequences, power: float) -> Tensor:
        """The sparse matrix [num_users, num_movies] of histories."""
        value = history_weights(history.place, power, self.length)
        edges = torch.stack([history.node, history.source])
        return adjacency(edges, history.num_sources, len(self.spectral_source), value)

    def _fit_spectral(self, history: Sequences, features: Tensor) -> None:
        if self.widths.spectral:
            links = torch.stack([history.source, history.node])
            num_movies, channels = self.spectral_source.shape
            self.spectral_source.copy_(spectral_embeddings(links, features, num_movies, channels, _SPECTRAL_L2))

    def _fit_transitions(self, history: Sequences, l2: float) -> None:
        num_movies, channels = self.transition_source.shape
        if channels:
            found = transition_embeddings(history, num_movies, channels, l2, _POWERS[0], self.length, _MAX_MOVIES)
            for buffer, vectors in zip((self.transition_source, self.transition_target), found, strict=True):
                buffer.copy_(vectors)

    def _choose(self, before: Sequences, users: Tensor, last: Tensor, features: Tensor) -> float:
        """Sets the weights that rank best what came last, and returns the penalty of transitions that does.

        The ratio of the two parts is the one of ``_SHARES`` that ranks best; what both count, so that a softmax of the
        scores tells best what came last.

        Args:
            before: what is known.
            users: [num] int64, those that are judged, or more.
            last: [num_users] int64, the movie that came last of each.
            features: as :meth:`prepare`.
        """
        users = users[torch.randperm(users.numel(), generator=torch.Generator().manual_seed(0))[:_MAX_JUDGED]]
        if not users.numel():
            return _PENALTIES[-2]
        self._fit_spectral(before, features)
        num_movies, target = len(self.spectral_source), last[users]
        by_transitions, by_similarities = (self._rows(before, users, power) for power in _POWERS)
        similar = by_similarities @ self.spectral_source @ scored(self.spectral_source).T
        hidden = torch.where(by_transitions > 0, -torch.inf, 0.0)  # what was seen, of late
        hidden[torch.arange(users.numel()), target] = 0.0
        core = core_movies(before, num_movies, _MAX_TRIED if self.widths.transitions else 0)
        gram, follows = transition_grams(before, core, num_movies, _POWERS[0], self.length)
        best = -1.0, 0.0, 0.0, hidden
        for l2 in _PENALTIES:
            follow = hidden.clone()
            follow[:, core] += by_transitions[:, core] @ ridge_regression(gram, follows, l2)
            for share in _SHARES:
                scores = follow + share * similar
                best = max(best, (_ndcg(scores, target), -share, l2, scores), key=lambda tried: tried[0])
        _, share, l2, scores = best
        scale = min(_SCALES, key=lambda value: float(cross_entropy(scores * value, target)))
        self.weight.copy_(scale * torch.tensor([1.0, -share]))
        return l2

    def _rows(self, history: Sequences, users: Tensor, power: float) -> Tensor:
        """[num, num_movies] the weighted histories of some users."""
        row = torch.full((history.num_sources,), -1)
        row[users] = torch.arange(users.numel())
        row, weight = row[history.source], history_weights(history.place, power, self.length)
        rows = torch.zeros(users.numel(), len(self.spectral_source))
        return rows.index_put_((row[row >= 0], history.node[row >= 0]), weight[row >= 0], accumulate=True)


def _ndcg(scores: Tensor, target: Tensor) -> float:
    """Mean over rows of 1 / log2(1 + place of the target); of equal scores half are before it."""
    reached = scores.gather(1, target[:, None])
    place = (scores > reached).sum(dim=1) + ((scores == reached).sum(dim=1) + 1) / 2
    return float((1 / (1 + place).log2()).mean())


def _without_last(history: Sequences) -> tuple[Sequences, Tensor, Tensor]:
    """The links but the last of each user with two or more, those users, and [num_users] the last movie of each."""
    is_last = (history.place == 1) & (history.length[history.source] >= 2)
    last = history.node.new_zeros(history.num_sources)
    last[history.source[is_last]] = history.node[is_last]
    kept = torch.stack([history.source, history.node])[:, ~is_last]
    time = None if history.time is None else history.time[~is_last]
    return sequences(kept, time, history.num_sources), history.source[is_last], last
