"""Reads what a user did last: attention to its latest movies."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_lp.graph.sequences import Sequences

_NUM_GAPS = 32
"""Buckets of ages: powers of two."""
_NUM_RATINGS = 9
"""Buckets of ratings: half standard deviations around the mean of the user, and before them one for unknown."""


@dataclass(frozen=True)
class Recent:
    """The latest links of each source, the latest first.

    Attributes:
        edge: [num_sources, length] int64, the place of each link in what ``sequences`` was given; any where there is
            none.
        mask: [num_sources, length] bool, where there is a link.
        gap: [num_sources, length] int64 buckets of the time since, until the latest link.
        rating: [num_sources, length] int64 buckets of ratings; 0: unknown.
    """

    edge: Tensor
    mask: Tensor
    gap: Tensor
    rating: Tensor

    def split(self, size: int) -> "list[Recent]":
        """The same for ``size`` sources at a time."""
        parts = (value.split(size) for value in (self.edge, self.mask, self.gap, self.rating))  # type: ignore[no-untyped-call]
        return [Recent(*part) for part in zip(*parts, strict=True)]


def recent_links(history: Sequences, length: int, rating: Tensor | None = None, deviation: float = 1.0) -> Recent:
    """Takes the latest links of each source.

    Args:
        history: the links in order.
        length: how many at most.
        rating: [num_links] float32, in the order that ``sequences`` was given. Default: unknown.
        deviation: the standard deviation of ratings.
    """
    longest = int(history.length.max()) if history.num_sources else 0
    place = torch.arange(max(1, min(length, longest)), device=history.node.device)
    mask = place < history.length[:, None]
    index = torch.where(mask, history.indptr[1:, None] - 1 - place, 0)
    if not history.node.numel():
        zeros = torch.zeros_like(index)
        return Recent(zeros, mask, zeros, zeros)
    edge, gap, bucket = history.edge[index], torch.zeros_like(index), torch.zeros_like(index)
    if history.time is not None:
        time = history.time[index]
        gap = (1 + (time[:, :1] - time).clamp(min=0)).double().log2().long().clamp(max=_NUM_GAPS - 1)
    if rating is not None:
        value = rating[edge] * mask
        mean = value.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        middle = _NUM_RATINGS // 2 + 1
        bucket = (2 * (value - mean) / deviation).round().long().clamp(1 - middle, middle - 1) + middle
    return Recent(edge, mask, gap, bucket)


class Readout(nn.Module):
    """Attention of a user to its latest movies, read several times.

    In each layer and head the weight of a movie is a softmax over the history of a sum: what its place from the end,
    its age and its rating count, and the product of its vector with a query. The query is what has been found so far,
    at first the latest movie (STAMP: Liu et al., "Short-term attention/memory priority model", KDD 2018; self-attention
    with learned positions: Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018).

    Args:
        channels: width of vectors.
        num_heads: ways of reading.
        num_layers: times of reading.
        length: the longest history.
    """

    def __init__(self, channels: int, num_heads: int, num_layers: int, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(channels, num_heads, length) for _ in range(num_layers))

    def forward(self, h: Tensor, recent: Recent) -> Tensor:
        """Reads: [num_users, channels], 0 for a user without a history.

        Args:
            h: [num_users, length, channels] vectors of the movies of ``recent``.
            recent: the histories.
        """
        found = h[:, 0]
        for layer in self.layers:
            found = layer(h, found, recent)
        read: Tensor = found * recent.mask[:, :1]
        return read


class _Layer(nn.Module):
    def __init__(self, channels: int, num_heads: int, length: int) -> None:
        super().__init__()
        self.place = nn.Parameter(-torch.linspace(0.1, 1, num_heads) * torch.arange(1.0, length + 1).log()[:, None])
        self.gap = nn.Parameter(torch.zeros(_NUM_GAPS, num_heads))
        self.rating = nn.Parameter(torch.zeros(_NUM_RATINGS + 1, num_heads))
        self.query = nn.Linear(channels, num_heads * channels, bias=False)
        self.value = nn.Linear(num_heads * channels, channels, bias=False)
        self.norm, self.hidden, self.out = (
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.Linear(4 * channels, channels),
        )
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.value.weight.data.copy_(torch.eye(channels).repeat(1, num_heads) / num_heads)

    def forward(self, h: Tensor, found: Tensor, recent: Recent) -> Tensor:
        num_users, length, channels = h.shape
        query = self.query(found).view(num_users, -1, channels)  # [num_users, num_heads, channels]
        logits = torch.einsum("ulc,uhc->ulh", h, query) / channels**0.5
        logits = logits + self.place[:length] + self.gap[recent.gap] + self.rating[recent.rating]
        logits = logits.masked_fill(~recent.mask[:, :, None], torch.finfo(logits.dtype).min)
        read = torch.einsum("ulh,ulc->uhc", logits.softmax(dim=1), h).flatten(1)
        found = self.value(read)
        updated: Tensor = found + self.out(F.gelu(self.hidden(self.norm(found))))
        return updated
