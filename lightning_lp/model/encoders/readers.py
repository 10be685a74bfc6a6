"""What encoders make of the history of one user, in dense operations alone: what an exporter can write down."""

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_lp.model.encoders.causal import NUM_GAPS, Layer, rating_buckets
from lightning_lp.model.encoders.closed_form import LENGTH, POWERS
from lightning_lp.model.encoders.transitions import history_weights

if TYPE_CHECKING:
    from lightning_lp.model.encoders.history import HistoryEncoder
    from lightning_lp.model.encoders.sequence import SequenceEncoder


class Reader(nn.Module):
    """From one history to the vector that ``Encoder.embed_new`` gives its user.

    Args:
        z_movie: [num_movies, channels] vectors of the catalogue, as ``Encoder.embed_all`` gives them.
    """

    z_movie: Tensor

    def __init__(self, z_movie: Tensor) -> None:
        super().__init__()
        self.register_buffer("z_movie", z_movie)

    def forward(self, movie: Tensor, rating: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """Reads a history.

        Args:
            movie: [n] int64 indices, each once, the latest last; at least one.
            rating: [n] float32, NaN where it is unknown; of an encoder that reads ratings.
            time: [n] int64 seconds, ascending; of an encoder that reads times.

        Returns:
            [channels] float32.
        """
        raise NotImplementedError


class HistoryReader(Reader):
    """That of :class:`~lightning_lp.model.encoders.history.HistoryEncoder`."""

    table: Tensor
    catalogue: Tensor
    source: Tensor
    mix: Tensor

    def __init__(self, encoder: "HistoryEncoder", z_movie: Tensor) -> None:
        super().__init__(z_movie)
        self.conv, self.user_lin = encoder.conv, encoder.user_lin
        self.activity, self.constant = encoder.activity, encoder.constant
        self.register_buffer("table", encoder.table().detach())
        self.register_buffer("catalogue", encoder.catalogue().detach())
        self.register_buffer("source", encoder.spectral_source)
        self.register_buffer("mix", encoder.mix)
        self.is_normalised_whole = encoder.temperature is not None

    def forward(self, movie: Tensor, rating: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """Reads a history; neither ratings nor times."""
        count = torch.ones_like(movie).sum().float()
        h = self.table[movie]
        h_user = h.sum(dim=0, keepdim=True) * count.rsqrt()
        conv = self.conv.lin_l(h.mean(dim=0, keepdim=True)) + self.conv.lin_r(h_user)
        one = torch.ones_like(h_user[:, :1])
        learned = torch.cat([h_user + self.user_lin(F.relu(conv)), one], dim=1)
        weight, scale, level = self.mix.unbind()
        linear = self.source[movie].sum(dim=0, keepdim=True)
        z_user = torch.cat([learned[:, :-1], linear * weight, one], dim=1) * scale
        prior = self.activity * count.log() + self.constant
        if self.is_normalised_whole:
            prior = prior - log_sum(z_user, self.z_movie[:, :-1], movie)
        else:
            prior = (prior - log_sum(learned, self.catalogue, movie)) * scale + level
        return torch.cat([z_user, prior.view(1, 1)], dim=1)[0]


class SequenceReader(Reader):
    """That of :class:`~lightning_lp.model.encoders.sequence.SequenceEncoder`.

    It reads one window, where the encoder reads those of all who ask, with what is before the window hidden.
    """

    table: Tensor
    weight: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, encoder: "SequenceEncoder", z_movie: Tensor) -> None:
        super().__init__(z_movie)
        self.attention, self.closed_form, self.constant = encoder.attention, encoder.closed_form, encoder.constant
        self.length = encoder.length
        self.register_buffer("table", encoder.table().detach())
        for name in ("weight", "mean", "deviation"):
            self.register_buffer(name, getattr(encoder, name))

    def forward(self, movie: Tensor, rating: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """Reads a history."""
        if time is None:
            raise ValueError("a sequence has times")
        learned, popular = self.weight.unbind()
        parts = [self._last(movie, rating, time) * learned, self._closed(movie)]
        z_user = torch.cat([*parts, learned.view(1), popular.view(1)])
        prior = self.constant - log_sum(z_user[None], self.z_movie[:, :-1], movie)
        return torch.cat([z_user, prior.view(1)])

    def _closed(self, movie: Tensor) -> Tensor:
        """What is in closed form."""
        one = torch.ones_like(movie)
        place = one.sum() - one.cumsum(dim=0) + 1
        weights = [history_weights(place, power, LENGTH) for power in POWERS]
        sources = self.closed_form.transition_source, self.closed_form.spectral_source
        counts = self.closed_form.weight.unbind()
        parts = zip(weights, sources, counts, strict=True)
        return torch.cat([weight @ source[movie] * count for weight, source, count in parts])

    def _last(self, movie: Tensor, rating: Tensor | None, time: Tensor) -> Tensor:
        """What attention says after the last movie."""
        width, num = 2 * self.length, torch.ones_like(movie).sum()
        column = torch.arange(width)
        movie, time = (F.pad(values, (width, 0))[column + num][None] for values in (movie, time))
        bucket = torch.zeros_like(movie)
        if rating is not None:
            rating = F.pad(rating, (width, 0))[column + num][None]
            is_known = ~rating.isnan()
            known = torch.where(is_known, rating, self.mean)
            bucket = torch.where(is_known, rating_buckets(known, self.mean, self.deviation), bucket)
        begin = ((num - 1) // self.length * self.length - self.length).clamp(min=0)
        is_before = column + num - width < begin
        distance = column[:, None] - column
        h = self.table[movie] + self.attention.rating(bucket)
        for layer in cast(list[Layer], self.attention.layers):
            bias = layer.distance[distance.clamp(0, self.length - 1)] + layer.gap[_gap_buckets(time[0])]
            is_hidden = (distance < 0) | (distance >= self.length) | (is_before & (distance != 0))
            h = layer.read(h, bias.permute(2, 0, 1).masked_fill(is_hidden, -torch.inf)[None])
        read: Tensor = self.attention.out(self.attention.norm(h[0, -1]))
        return read


def log_sum(z_user: Tensor, z_movie: Tensor, movie: Tensor) -> Tensor:
    """[1] as :func:`~lightning_lp.model.scores.log_normalizer` of one user, z_user [1, channels]."""
    scores = (z_user @ z_movie.T)[0]
    return scores.index_fill(0, movie, -torch.inf).logsumexp(dim=0, keepdim=True).clamp(min=-1e4)


def _gap_buckets(time: Tensor) -> Tensor:
    """[width, width] int64 as attention counts them, without a look at the bits of a number."""
    gap = ((time + 1)[:, None] - time[None, :]).float()
    bucket = torch.zeros_like(gap, dtype=torch.int64)
    for power in range(1, NUM_GAPS):
        bucket = bucket + (gap >= 2.0**power)
    return bucket
