"""Reads sequences in their order: causal self-attention, which says at each place what comes next."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NUM_GAPS = 32
"""Buckets of the time between two links: powers of two."""
_NUM_RATINGS = 9
"""Buckets of ratings: half standard deviations around the mean of all, and before them one for unknown."""


def rating_buckets(rating: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """The bucket of each rating, int64 from 1; 0 stands for an unknown one.

    Args:
        rating: float32.
        mean: [] float32, of all ratings, so that none depends on what a user rates later.
        deviation: [] float32, their standard deviation.
    """
    middle = _NUM_RATINGS // 2 + 1
    return (2 * (rating - mean) / deviation).round().long().clamp(1 - middle, middle - 1) + middle


class CausalAttention(nn.Module):
    """Layers of self-attention in which a place sees itself and what is before it.

    Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018, but normalised first, and without places:
    in each layer and head something is added to the products that is learned of the distance of two places (as in T5:
    Raffel et al., JMLR 2020) and of the time between them (TiSASRec: Li, Wang and McAuley, "Time interval aware
    self-attention for sequential recommendation", WSDM 2020).

    Args:
        channels: width of vectors.
        num_heads: of each layer; they divide ``channels``.
        num_layers: how often a sequence is read.
        length: how many places a place sees in a layer, its own included.
        dropout: share of inputs and activations that is left out in training.
    """

    def __init__(self, channels: int, num_heads: int, num_layers: int, length: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.rating = nn.Embedding(_NUM_RATINGS + 1, channels)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(channels, num_heads, length, dropout) for _ in range(num_layers))
        self.norm, self.out = nn.LayerNorm(channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.rating.weight)

    def forward(self, h: Tensor, rating: Tensor, time: Tensor | None = None) -> Tensor:
        """Reads windows of sequences.

        Args:
            h: [num_rows, width, channels] vectors in their order, then padding, which no earlier place sees.
            rating: [num_rows, width] int64 buckets, as :func:`rating_buckets` gives them; 0: unknown.
            time: [num_rows, width] int64, ascending. Default: times are not looked at.

        Returns:
            [num_rows, width, channels], of what comes next after each place.
        """
        place = torch.arange(h.size(1), device=h.device)
        distance = place[:, None] - place
        hidden = (distance < 0) | (distance >= self.length)
        distance = distance.clamp(0, self.length - 1)
        gap = None if time is None else _gap_buckets(time)
        h = self.dropout(h + self.rating(rating))
        for layer in self.layers:
            h = layer(h, distance, gap, hidden)
        read: Tensor = self.out(self.norm(h))
        return read


class _Layer(nn.Module):
    def __init__(self, channels: int, num_heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.distance = nn.Parameter(-torch.linspace(0.1, 1, num_heads) * torch.arange(1.0, length + 1).log()[:, None])
        self.gap = nn.Parameter(torch.zeros(_NUM_GAPS, num_heads))
        self.norm, self.hidden_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.value = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.hidden, self.out = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, distance: Tensor, gap: Tensor | None, hidden: Tensor) -> Tensor:
        num_rows, width, channels = h.shape
        bias = self._bias(distance, gap).masked_fill(hidden, -torch.inf)
        qkv = self.qkv(self.norm(h)).view(num_rows, width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [num_rows, num_heads, width, channels of a head] each
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        h = h + self.dropout(self.value(read.transpose(1, 2).reshape(num_rows, width, channels)))
        updated: Tensor = h + self.dropout(self.out(self.dropout(F.gelu(self.hidden(self.hidden_norm(h))))))
        return updated

    def _bias(self, distance: Tensor, gap: Tensor | None) -> Tensor:
        """[1 or num_rows, num_heads, width, width] what is added to the products."""
        bias = F.embedding(distance, self.distance)[None]  # [1, width, width, num_heads]
        if gap is not None:
            bias = bias + F.embedding(gap, self.gap)
        return bias.permute(0, 3, 1, 2)


def _gap_buckets(time: Tensor) -> Tensor:
    """[num_rows, width, width] int32: of each place and each before it, log2 of the time between them."""
    gap = (time[:, :, None] - time[:, None, :]).clamp_(min=0).add_(1)
    return (torch.frexp(gap.float()).exponent - 1).clamp_(max=_NUM_GAPS - 1)
