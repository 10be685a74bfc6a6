"""Reads sequences in their order: causal self-attention, which says at each place what comes next."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NUM_GAPS = 32
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
        self.layers = nn.ModuleList(Layer(channels, num_heads, length, dropout) for _ in range(num_layers))
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
        gap = None if time is None else _gap_buckets(time)
        h = self.dropout(h + self.rating(rating))
        for layer in self.layers:
            h = layer(h, distance, gap)
        read: Tensor = self.out(self.norm(h))
        return read


class Layer(nn.Module):
    """One layer of :class:`CausalAttention`."""

    def __init__(self, channels: int, num_heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.distance = nn.Parameter(-torch.linspace(0.1, 1, num_heads) * torch.arange(1.0, length + 1).log()[:, None])
        self.gap = nn.Parameter(torch.zeros(NUM_GAPS, num_heads))
        self.norm, self.hidden_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.value = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.hidden, self.out = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, distance: Tensor, gap: Tensor | None) -> Tensor:
        """Reads windows with the distances, and the times between, of their places."""
        return self.read(h, self._bias(distance, gap))

    def read(self, h: Tensor, bias: Tensor) -> Tensor:
        """Reads windows [num_rows, width, channels] with a bias as :meth:`_bias` gives it."""
        num_rows, width, channels = h.shape
        qkv = self.qkv(self.norm(h)).view(num_rows, width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [num_rows, num_heads, width, channels of a head] each
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        h = h + self.dropout(self.value(read.transpose(1, 2).reshape(num_rows, width, channels)))
        updated: Tensor = h + self.dropout(self.out(self.dropout(F.gelu(self.hidden(self.hidden_norm(h))))))
        return updated

    def _bias(self, distance: Tensor, gap: Tensor | None) -> Tensor:
        """[1 or num_rows, num_heads, width, width] what is added to the products; -inf where a place does not see."""
        length = len(self.distance)
        bias = _looked_up(self.distance, distance.clamp(0, length - 1)[None])
        bias = bias.masked_fill((distance < 0) | (distance >= length), -torch.inf)
        return bias if gap is None else bias + _looked_up(self.gap, gap)


def _gap_buckets(time: Tensor) -> Tensor:
    """[num_rows, width, width] int32: of each place and each before it, log2 of the time between them."""
    gap = ((time + 1)[:, :, None] - time[:, None, :]).float().clamp_(min=1)
    return gap.view(torch.int32).bitwise_right_shift_(23).sub_(127).clamp_(max=NUM_GAPS - 1)  # a float's exponent


def _looked_up(table: Tensor, bucket: Tensor) -> Tensor:
    """[num_rows, num_heads, width, width] of a table [num_buckets, num_heads], for buckets [num_rows, width, width]."""
    if bucket.device.type != "cpu":
        return F.embedding(bucket, table).permute(0, 3, 1, 2)
    found: Tensor = _LookedUp.apply(table, bucket)  # type: ignore[no-untyped-call]
    return found


class _LookedUp(torch.autograd.Function):
    """Its gradient is a histogram: an eighth of the time of that of an embedding on a CPU."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bucket: Tensor) -> Tensor:
        ctx.save_for_backward(bucket)
        ctx.num_buckets = len(table)
        return F.embedding(bucket, table).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        bucket = ctx.saved_tensors[0].flatten()
        heads = [torch.bincount(bucket, head.flatten(), ctx.num_buckets) for head in grad.unbind(1)]
        return torch.stack(heads, dim=1).to(grad.dtype), None
