"""What a history says of the next movie in closed form, with penalty and weights that the data choose."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_lp.graph.messages import adjacency
from lightning_lp.graph.sequences import Sequences, sequences
from lightning_lp.model.encoders.mix import gain
from lightning_lp.model.encoders.spectral import scored, spectral_embeddings
from lightning_lp.model.encoders.transitions import (
    Counted,
    all_grams,
    core_movies,
    history_weights,
    ridge_predictions,
    transition_embeddings,
)

POWERS = 0.5, 1.0
"""How fast a link counts less in a history, for transitions and for similarities."""
_FIRST = Counted(l2=100.0, later=0.3, features=10.0)
"""Where the search for what counts in transitions begins."""
_TRIED: Mapping[str, tuple[Any, ...]] = {"features": (0.0, 3.0, 30.0), "l2": (30.0, 300.0), "later": (0.0, 1.0)}
"""What else is tried of each, one after the other."""
_SHARES = 0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0
"""What similarities may count beside transitions."""
_SPECTRAL_L2 = 150.0
_SCALES = tuple(2.0**power for power in range(10))
"""What scores may be multiplied with, so that they are the logits of a softmax."""
LENGTH = 50
"""How many of the latest movies of a user count."""
_MAX_JUDGED = 1024
"""Users whose last movie the weights are chosen by."""
_MAX_MOVIES = 20480
"""Of the transitions that are kept; the work grows with the third power."""
_MAX_TRIED = 8192
"""Of the transitions that what counts is chosen by."""


class Widths(NamedTuple):
    """Channels of each part; 0: it is left out."""

    transitions: int
    spectral: int


class ClosedForm(nn.Module):
    """Transitions and linear similarities, each a dot product of a user's weighted history and a movie.

    Args:
        num_movies: size of the catalogue.
        widths: channels of each part.

    Attributes:
        weight: [2] float32: what transitions and similarities count in a score.
    """

    transition_source: Tensor
    transition_target: Tensor
    spectral_source: Tensor
    weight: Tensor

    def __init__(self, num_movies: int, widths: Widths) -> None:
        super().__init__()
        self.widths = widths
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
        counted = self._choose(*_without_last(history), features)
        self._fit_spectral(history, features)
        self._fit_transitions(history, features, counted)

    def users(self, history: Sequences) -> Tensor:
        """[num_users, channels] vectors of users."""
        transitions, similarities = (self._weighted(history, power) for power in POWERS)
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
        value = history_weights(history.place, power, LENGTH)
        edges = torch.stack([history.node, history.source])
        return adjacency(edges, history.num_sources, len(self.spectral_source), value)

    def _fit_spectral(self, history: Sequences, features: Tensor) -> None:
        if self.widths.spectral:
            links = torch.stack([history.source, history.node])
            num_movies, channels = self.spectral_source.shape
            self.spectral_source.copy_(spectral_embeddings(links, features, num_movies, channels, _SPECTRAL_L2))

    def _fit_transitions(self, history: Sequences, features: Tensor, counted: Counted) -> None:
        num_movies, channels = self.transition_source.shape
        if channels:
            found = transition_embeddings(history, features, num_movies, channels, counted, _MAX_MOVIES)
            for buffer, vectors in zip((self.transition_source, self.transition_target), found, strict=True):
                buffer.copy_(vectors)

    def _choose(self, before: Sequences, users: Tensor, last: Tensor, features: Tensor) -> Counted:
        """Sets the weights that rank best what came last, and returns what counts in transitions that do.

        What counts is chosen one thing after the other, and with each the ratio of the two parts, of ``_SHARES``; what
        both count, so that a softmax of the scores tells best what came last.

        Args:
            before: what is known.
            users: [num] int64, those that are judged, or more.
            last: [num_users] int64, the movie that came last of each.
            features: as :meth:`prepare`.
        """
        first = replace(_FIRST, power=POWERS[0], length=LENGTH)
        users = users[torch.randperm(users.numel(), generator=torch.Generator().manual_seed(0))[:_MAX_JUDGED]]
        if not users.numel():
            return first
        self._fit_spectral(before, features)
        num_movies, target = len(self.spectral_source), last[users]
        by_transitions, by_similarities = (self._rows(before, users, power) for power in POWERS)
        similar = by_similarities @ self.spectral_source @ scored(self.spectral_source).T
        hidden = torch.where(by_transitions > 0, -torch.inf, 0.0)  # what was seen, of late
        hidden[torch.arange(users.numel()), target] = 0.0
        core = core_movies(before, num_movies, _MAX_TRIED if self.widths.transitions else 0)

        def judged(counted: Counted) -> _Judged:
            follow = hidden.clone()
            if core.numel():
                grams = all_grams(before, features, core, num_movies, counted)
                follow[:, core] += ridge_predictions(*grams, counted.l2, by_transitions[:, core])
            tried = [
                _Judged(float(gain(scores := follow + share * similar, target).mean()), share, scores)
                for share in _SHARES
            ]
            return max(tried, key=lambda judged: judged.ndcg)

        chosen, best = first, judged(first)
        for name, values in _TRIED.items() if core.numel() else ():
            tried = {value: judged(replace(chosen, **{name: value})) for value in values}
            value = max(tried, key=lambda value: tried[value].ndcg)
            if tried[value].ndcg > best.ndcg:
                chosen, best = replace(chosen, **{name: value}), tried[value]
        scale = min(_SCALES, key=lambda value: float(cross_entropy(best.scores * value, target)))
        self.weight.copy_(scale * torch.tensor([1.0, best.share]))
        return chosen

    def _rows(self, history: Sequences, users: Tensor, power: float) -> Tensor:
        """[num, num_movies] the weighted histories of some users."""
        row = torch.full((history.num_sources,), -1)
        row[users] = torch.arange(users.numel())
        row, weight = row[history.source], history_weights(history.place, power, LENGTH)
        rows = torch.zeros(users.numel(), len(self.spectral_source))
        return rows.index_put_((row[row >= 0], history.node[row >= 0]), weight[row >= 0], accumulate=True)


class _Judged(NamedTuple):
    """How good a ratio of the two parts is."""

    ndcg: float
    share: float
    scores: Tensor


def _without_last(history: Sequences) -> tuple[Sequences, Tensor, Tensor]:
    """The links but the last of each user with two or more, those users, and [num_users] the last movie of each."""
    is_last = (history.place == 1) & (history.length[history.source] >= 2)
    last = history.node.new_zeros(history.num_sources)
    last[history.source[is_last]] = history.node[is_last]
    kept = torch.stack([history.source, history.node])[:, ~is_last]
    time = None if history.time is None else history.time[~is_last]
    return sequences(kept, time, history.num_sources), history.source[is_last], last
