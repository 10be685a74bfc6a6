"""Edges sorted by the node they lead to: what neighbours are sampled from."""

from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.index import index2ptr

Int = NDArray[np.int64]
_NOTHING: Int = np.empty(0, np.int64)


@dataclass(frozen=True)
class Times:
    """When the messages of an edge type are sent.

    Attributes:
        value: [num_edges] int64, or [num_src] where the nodes that messages come from have the times.
        of_sources: which of the two.
    """

    value: Tensor
    of_sources: bool = False


@dataclass(frozen=True)
class Csc:
    """The edges of one type by destination; those of one destination by time, if they have any, then by source.

    Attributes:
        colptr: [num_dst + 1] int64: the edges to node v are those from ``colptr[v]`` to ``colptr[v + 1]``.
        row: [num_edges] their sources, int32 if they fit.
        perm: [num_edges] int64: where they stand in the graph; None where the graph has this order.
        time: [num_edges] int64; None where messages have no times.
        source_time: [num_src] int64: the times of the sources, where ``time`` is that.
    """

    colptr: Tensor
    row: Tensor
    perm: Tensor | None
    time: Tensor | None = None
    source_time: Tensor | None = None

    @property
    def has_own_times(self) -> bool:
        """Whether each edge has a time of its own: an edge that is later than another is another message."""
        return self.time is not None and self.source_time is None

    @property
    def max_degree(self) -> int:
        """The most edges that lead to one node."""
        return int(self.colptr.diff().max()) if len(self.colptr) > 1 else 0

    def arrays(self) -> tuple[Int, Int, Int]:
        """``colptr``, ``row`` and ``time`` for the kernels; no entry of ``time`` where there are no times."""
        return self.colptr.numpy(), self.row.numpy(), _NOTHING if self.time is None else self.time.numpy()


_Known = tuple[tuple[int, ...], Tensor | None, Csc]
_SORTED: MutableMapping[Tensor, _Known] = WeakTensorKeyDictionary()
"""Of each ``edge_index``: training's messages are validation's, and the positives."""
_SORTED_BY_TIME: MutableMapping[Tensor, _Known] = WeakTensorKeyDictionary()


def sorted_edges(edge_index: Tensor, num_src: int, num_dst: int, times: Times | None = None) -> Csc:
    """Sorts edges, once for all samplers over the same tensors.

    Args:
        edge_index: [2, num_edges] int64.
        num_src: number of nodes that messages come from.
        num_dst: number of nodes that messages reach.
        times: when. Default: there are no times.
    """
    known_edges = _SORTED if times is None else _SORTED_BY_TIME
    value = None if times is None else times.value
    version = edge_index._version, 0 if value is None else value._version  # another one: it was written to
    what = *version, num_src, num_dst, int(times is not None and times.of_sources)
    known = known_edges.get(edge_index)
    if known is None or known[0] != what or known[1] is not value:
        csc = (
            _by_source(edge_index, num_src, num_dst) if times is None else _by_time(edge_index, num_src, num_dst, times)
        )
        known = known_edges[edge_index] = what, value, csc
    return known[2]


def _by_source(edge_index: Tensor, num_src: int, num_dst: int) -> Csc:
    """Sorts edges by destination, then source."""
    src, dst = edge_index
    key, perm = dst * num_src + src, None
    if (key[1:] < key[:-1]).any():
        key, perm = key.sort(stable=True)
    colptr = torch.searchsorted(key, torch.arange(num_dst + 1) * num_src)
    return Csc(colptr, _sources(src, perm, num_src), perm)


def _by_time(edge_index: Tensor, num_src: int, num_dst: int, times: Times) -> Csc:
    """Sorts edges by destination, then time, then source."""
    src, dst = edge_index
    time = times.value[src] if times.of_sources else times.value
    key = _moments(time, num_dst)
    key += dst * (int(key.max()) + 1 if len(key) else 1)
    by_source = src.argsort(stable=True)
    order = by_source[key[by_source].argsort(stable=True)]
    perm = None if torch.equal(order, torch.arange(len(order))) else order
    if perm is not None:
        dst, time = dst[perm], time[perm]
    colptr = index2ptr(dst.contiguous(), num_dst)
    return Csc(colptr, _sources(src, perm, num_src), perm, time, times.value if times.of_sources else None)


def _moments(time: Tensor, num_dst: int) -> Tensor:
    """Times in the same order from 0 on, so small that a number of a destination fits beside each in 64 bits."""
    if not len(time):
        return time.clone()
    first, last = int(time.min()), int(time.max())
    if (last - first + 1) * num_dst < 2**63:
        return time - first
    moments: Tensor = torch.unique(time, return_inverse=True)[1]
    return moments


def _sources(src: Tensor, perm: Tensor | None, num_src: int) -> Tensor:
    row = src.to(torch.int32 if num_src < 2**31 else torch.int64)
    return row if perm is None else row[perm]


def distinct_by_source(edge_index: Tensor, num_src: int, num_dst: int) -> tuple[Int, Int]:
    """Pairs by source, each once.

    Returns:
        Pointers [num_src + 1] and destinations [num_distinct], ascending for each source.
    """
    key = torch.unique(edge_index[0] * num_dst + edge_index[1])
    indptr = torch.searchsorted(key, torch.arange(num_src + 1) * num_dst)
    return indptr.numpy(), (key % num_dst).numpy()
