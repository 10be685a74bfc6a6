"""Negatives of training: pairs that are no links, drawn anew for each batch."""

import math
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.sampler import NegativeSampling
from torch_geometric.typing import NodeType

from lightning_lp.graph import kernel, temporal_kernel
from lightning_lp.graph.csc import Csc, distinct_by_source, sorted_edges
from lightning_lp.graph.links import LinkType

Int = NDArray[np.int64]


def avoided_pairs(positives: Tensor, kind: LinkType, num_nodes: dict[NodeType, int]) -> Tensor:
    """The pairs that are no negatives: of one node type also each node with itself, and reverse links."""
    if not kind.has_one_node_type:
        return positives
    loops = torch.arange(num_nodes[kind.edge_type[0]]).expand(2, -1)
    reverse = [positives.flip(0)] if kind.is_undirected else []
    avoided: Tensor = torch.unique(torch.cat([positives, *reverse, loops], dim=1), dim=1)
    return avoided


class AnyPairs:
    """Draws pairs uniformly from all that are no links.

    Args:
        avoided: [2, num_pairs] the pairs that are no negatives.
        num_src: number of nodes at the one end.
        num_dst: number of nodes at the other.
    """

    def __init__(self, avoided: Tensor, num_src: int, num_dst: int) -> None:
        self._avoided: Csc = sorted_edges(avoided, num_src, num_dst)
        self._num_src, self._num_dst = num_src, num_dst

    def draw(self, key: np.int64, link_id: Int, src: Int, num_neg: int) -> tuple[Int, Int]:
        """Draws for links, of which the first has the negatives 0, len(link_id), ...; each depends on its link alone.

        Returns:
            Sources and destinations, [num_neg] each.

        Raises:
            ValueError: every pair is a link.
        """
        if not self._has_non_links:
            raise ValueError("every pair of nodes is a link: there are no negatives to draw")
        colptr, row, _ = self._avoided.arrays()
        return kernel.draw_negatives(key, link_id, num_neg, self._num_src, colptr, row)

    @cached_property
    def _has_non_links(self) -> bool:
        (colptr, row, _), num_pairs = self._avoided.arrays(), self._num_src * self._num_dst
        if len(row) < num_pairs:
            return True
        col = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))  # some pairs may be there twice
        return len(np.unique(col * self._num_src + row)) < num_pairs


class SameSource:
    """Draws for each link destinations that its source has no link to, of any time, uniformly.

    Args:
        avoided: [2, num_pairs] the pairs that are no negatives.
        num_src: number of nodes at the one end.
        num_dst: number of nodes at the other.
    """

    def __init__(self, avoided: Tensor, num_src: int, num_dst: int) -> None:
        self._avoided, self._num_src, self._num_dst = avoided, num_src, num_dst

    @cached_property
    def _known(self) -> tuple[Int, Int]:
        return distinct_by_source(self._avoided, self._num_src, self._num_dst)

    def draw(self, key: np.int64, link_id: Int, src: Int, num_neg: int) -> tuple[Int, Int]:
        """Draws for links, of which the first has the negatives 0, len(link_id), ...; each depends on its link alone.

        Returns:
            Sources and destinations, [num_neg] each; -1 for a source that has links to all destinations.
        """
        dst = temporal_kernel.draw_destinations(key, link_id, src, num_neg, self._num_dst, *self._known)
        return np.resize(src, num_neg), dst


def count_negatives(num_links: int, neg_sampling: NegativeSampling) -> int:
    """How many negatives are asked for.

    Raises:
        ValueError: they are to be of another kind than uniform binary ones.
    """
    weighted = neg_sampling.src_weight is not None or neg_sampling.dst_weight is not None
    if weighted or not neg_sampling.is_binary():
        raise ValueError(f"LinkNeighborSampler draws uniform binary negatives only, got {neg_sampling}")
    amount: float = neg_sampling.amount
    return math.ceil(num_links * amount)
