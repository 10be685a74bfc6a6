"""Which part of a history is read: a window at fixed places, once for all who ask for it."""

from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """Windows that are read at once.

    Attributes:
        place: [num_rows, width] int64, the places of links; behind a window's last is padding, which repeats it.
        last: [num] int64, where the last link of each history stands in ``place``, one row after the other.
    """

    place: Tensor
    last: Tensor


def windows(first: Tensor, end: Tensor, length: int, rows: int) -> tuple[list[Part], Tensor]:
    """Finds the windows in which histories end.

    What comes after the places ``k * length`` to before ``(k + 1) * length`` of a sequence is read from a window that
    begins at ``(k - 1) * length``, or at 0. It depends on the sequence alone, and not on who asks: a causal network
    gives the same for a place, wherever its window ends.

    Args:
        first: [num_asked] int64, the place of the first link of each history.
        end: [num_asked] int64, where it ends: what stands there is not read.
        length: outputs of a window.
        rows: the most windows in a part; they are sorted by width, so that little of it is padding.

    Returns:
        The parts, and [num_asked] int64: where each history stands among those of all parts; -1 where it is empty.

    Examples:
        >>> import torch
        >>> from lightning_lp.model.encoders.windows import windows
        >>> first, end = torch.tensor([3, 3, 8, 3, 8]), torch.tensor([5, 8, 8, 7, 10])  # sequences of 5 links and of 2
        >>> parts, where = windows(first, end, length=2, rows=2)
        >>> [part.place.tolist() for part in parts]  # up to 3 + 1, 8 + 1 and 3 + 3; up to 3 + 4, which begins at 3 + 2
        [[[3, 4], [8, 9]], [[5, 6, 7, 7], [3, 4, 5, 6]]]
        >>> [part.last.tolist() for part in parts], where.tolist()
        ([[1, 3], [2, 7]], [0, 2, -1, 3, 1])
    """
    is_known = end > first
    start, last = first[is_known], end[is_known] - 1
    output, window = torch.unique(last - (last - start) % length, return_inverse=True)
    begin, stop = torch.zeros_like(output), torch.zeros_like(output)
    begin.scatter_(0, window, start)
    begin = torch.maximum(begin, output - length)
    stop.scatter_reduce_(0, window, last + 1, "amax")
    order = (stop - begin).argsort(stable=True)
    row = order.argsort()[window]
    asked = row.argsort(stable=True)
    sizes, parts = torch.bincount(row // rows).tolist(), []
    chunks = torch.split(order, rows)[: len(sizes)]  # of nothing a chunk, too
    for chosen, history in zip(chunks, torch.split(asked, sizes), strict=True):
        column = torch.arange(int((stop - begin)[chosen[-1]]), device=first.device)
        place = torch.minimum(begin[chosen, None] + column, stop[chosen, None] - 1)
        in_part = row[history] % rows * column.numel()
        parts.append(Part(place, in_part + last[history] - begin[window[history]]))
    where = torch.full_like(end, -1)
    where[is_known] = asked.argsort()
    return parts, where
