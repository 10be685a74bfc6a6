"""The links of each source in order of time: what came before what."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.index import index2ptr, ptr2index


@dataclass(frozen=True)
class Sequences:
    """Links in order of source, then time, then as they were given.

    Those of source ``s`` stand at ``indptr[s]`` to before ``indptr[s + 1]``, the latest last.

    Attributes:
        indptr: [num_sources + 1] int64.
        node: [num_links] int64, the destination of each link.
        time: [num_links] int64, or None where times are unknown: the order is then as given.
        edge: [num_links] int64, the place of each link in what was given.
    """

    indptr: Tensor
    node: Tensor
    time: Tensor | None
    edge: Tensor

    @property
    def num_sources(self) -> int:
        """Number of sources, with or without links."""
        return self.indptr.numel() - 1

    @property
    def length(self) -> Tensor:
        """[num_sources] int64, the number of links of each source."""
        return self.indptr.diff()

    @property
    def source(self) -> Tensor:
        """[num_links] int64, the source of each link, ascending."""
        source: Tensor = ptr2index(self.indptr)
        return source

    @property
    def place(self) -> Tensor:
        """[num_links] int64, the place of each link from the end of its source's: 1 for the latest.

        Links of one time have places of their own, in the order in which they were given.
        """
        return self.indptr[1:][self.source] - torch.arange(self.node.numel(), device=self.node.device)

    def end_before(self, source: Tensor, time: Tensor) -> Tensor:
        """Where the history of a question ends: its links are ``indptr[source]`` to before the end.

        Args:
            source: [num] int64 sources.
            time: [num] int64 times of the questions; a history is strictly earlier.

        Returns:
            [num] int64 places in ``node``.

        Raises:
            ValueError: the times of the links are unknown.
        """
        known, key = self._key
        return torch.searchsorted(key, source * (known.numel() + 1) + torch.searchsorted(known, time.contiguous()))

    @cached_property
    def _key(self) -> tuple[Tensor, Tensor]:
        """The distinct times, and a number for each link that ascends, as source and time do."""
        if self.time is None:
            raise ValueError("these sequences have no times: give sequences() the times of the links")
        known, rank = torch.unique(self.time, return_inverse=True)
        return known, self.source * (known.numel() + 1) + rank


def ranges(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers from ``start`` to before ``end``, one range after the other.

    Args:
        start: [num] int64.
        end: [num] int64, each its ``start`` or more.

    Returns:
        [num_chosen] int64 numbers, and [num + 1] int64: those of range i stand at ``indptr[i]`` to before
        ``indptr[i + 1]``.

    Examples:
        >>> import torch
        >>> from lightning_lp.graph.sequences import ranges
        >>> ranges(torch.tensor([7, 2, 0]), torch.tensor([9, 2, 1]))
        (tensor([7, 8, 0]), tensor([0, 2, 2, 3]))
    """
    length = end - start
    indptr = torch.cat([length.new_zeros(1), length.cumsum(0)])
    return torch.arange(int(indptr[-1])) + (start - indptr[:-1]).repeat_interleave(length), indptr


def sequences(edge_index: Tensor, time: Tensor | None, num_sources: int) -> Sequences:
    """Puts links in order.

    Args:
        edge_index: [2, num_links] int64 (source, destination), in any order.
        time: [num_links] int64; links of one source and time stay in the order in which they are given. None: all do.
        num_sources: number of sources.

    Examples:
        >>> import torch
        >>> from lightning_lp.graph.sequences import sequences
        >>> links, time = torch.tensor([[1, 0, 1, 1], [5, 6, 7, 8]]), torch.tensor([30, 10, 20, 30])
        >>> found = sequences(links, time, num_sources=2)
        >>> found.indptr.tolist(), found.node.tolist(), found.place.tolist()
        ([0, 1, 4], [6, 7, 5, 8], [1, 3, 2, 1])
    """
    source, node = edge_index
    order = torch.arange(source.numel(), device=source.device) if time is None else time.argsort(stable=True)
    order = order[source[order].argsort(stable=True)]
    indptr = index2ptr(source[order], num_sources)
    return Sequences(indptr, node[order], None if time is None else time[order], order)
