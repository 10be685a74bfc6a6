"""From seeds to their neighbourhood, hop after hop."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.graph import kernel
from lightning_lp.graph.csc import Csc
from lightning_lp.graph.links import HOMOGENEOUS, LinkType

Int = NDArray[np.int64]
Edges = tuple[Int, Int, Int]
"""Local sources, local destinations and positions in the CSC graph of sampled edges."""


class Neighborhood(Protocol):
    """The nodes that have been found for a batch, and how more are found.

    Attributes:
        count: how many of each type there are; the next one of a type gets this local index.
    """

    count: dict[NodeType, int]

    def sample(self, edge_type: EdgeType, key: np.int64, fan_out: int, start: int, stop: int) -> Edges:
        """Samples messages to the nodes with local indices from ``start`` to ``stop``, and counts their sources in."""

    def nodes(self) -> dict[NodeType, Int]:
        """The global indices of all that have been found. Nothing can be sampled after this."""


def expand(found: Neighborhood, key: np.int64, fan_outs: Mapping[EdgeType, Sequence[int]]) -> HeteroSamplerOutput:
    """Samples the neighbourhood of the seeds that have been ``found``.

    Args:
        found: the seeds.
        key: key of the draws.
        fan_outs: neighbours per node in each hop, for each type of messages; its place here is part of the draws' keys.

    Returns:
        PyG's output; nodes are numbered hop by hop.
    """
    start = dict.fromkeys(found.count, 0)  # the frontier: nodes from here ...
    nodes_per_hop = [found.count.copy()]
    edges_per_hop: list[dict[EdgeType, Edges]] = []
    for hop, fan_out in enumerate(zip(*fan_outs.values(), strict=True)):
        stop = found.count.copy()  # ... to here
        edges_per_hop.append({})
        for i, edge_type in enumerate(fan_outs):
            hop_key = kernel.hash_array(np.array([key, hop, i]))
            first, last = start[edge_type[-1]], stop[edge_type[-1]]
            edges_per_hop[-1][edge_type] = found.sample(edge_type, hop_key, fan_out[i], first, last)
        start = stop
        nodes_per_hop.append({node_type: found.count[node_type] - stop[node_type] for node_type in stop})
    row, col, edge = (
        {
            edge_type: torch.from_numpy(np.concatenate([edges[edge_type][part] for edges in edges_per_hop]))
            for edge_type in fan_outs
        }
        for part in range(3)
    )
    return HeteroSamplerOutput(
        node={node_type: torch.from_numpy(node) for node_type, node in found.nodes().items()},
        row=row,
        col=col,
        edge=edge,
        num_sampled_nodes={t: [nodes[t] for nodes in nodes_per_hop] for t in nodes_per_hop[0]},
        num_sampled_edges={t: [len(edges[t][0]) for edges in edges_per_hop] for t in fan_outs},
    )


class Scratch:
    """Memory of the kernels, used again for each batch and left clean.

    Args:
        num_nodes: how many nodes of each type there are.
        edges: the messages of each type.
    """

    def __init__(self, num_nodes: Mapping[NodeType, int], edges: Mapping[EdgeType, Csc]) -> None:
        self.local = {node_type: np.full(num, -1) for node_type, num in num_nodes.items()}
        self.nodes = {node_type: np.empty(num, np.int64) for node_type, num in num_nodes.items()}
        self.order = ascending(edges)


def ascending(edges: Mapping[EdgeType, Csc]) -> Int:
    """0, 1, 2, ... as far as nodes have neighbours: what draws without replacement are made from."""
    return np.arange(max((csc.max_degree for csc in edges.values()), default=0))


class SharedNeighborhood:
    """One neighbourhood of all seeds of a batch, in which each node is once.

    Args:
        edges: the messages of each type.
        scratch: memory for one batch at a time.
        excluded: positions of edges that are not to be sampled, ascending, each once.
    """

    def __init__(self, edges: Mapping[EdgeType, Csc], scratch: Scratch, excluded: Mapping[EdgeType, Int]) -> None:
        self._edges, self._scratch, self._excluded = edges, scratch, excluded
        self.count = dict.fromkeys(scratch.nodes, 0)

    def add(self, node_type: NodeType, node: Int) -> Int:
        """The local index of each node."""
        scratch = self._scratch
        local, count = kernel.relabel(node, scratch.local[node_type], scratch.nodes[node_type], self.count[node_type])
        self.count[node_type] = count
        return local

    def sample(self, edge_type: EdgeType, key: np.int64, fan_out: int, start: int, stop: int) -> Edges:
        """Samples messages to the nodes with local indices from ``start`` to ``stop``, and counts their sources in."""
        colptr, row, _ = self._edges[edge_type].arrays()
        excluded = self._excluded.get(edge_type, np.empty(0, np.int64))
        frontier = self._scratch.nodes[edge_type[-1]][start:stop]
        edge, col = kernel.sample_hop(key, frontier, start, fan_out, colptr, excluded, self._scratch.order)
        return self.add(edge_type[0], row[edge]), col, edge

    def nodes(self) -> dict[NodeType, Int]:
        """The global indices of all that have been found; the memory is clean again."""
        nodes = {node_type: self._scratch.nodes[node_type][:count].copy() for node_type, count in self.count.items()}
        for node_type, node in nodes.items():
            self._scratch.local[node_type][node] = -1
        return nodes


def positions_of_links(edges: Mapping[EdgeType, Csc], kind: LinkType, src: Int, dst: Int) -> dict[EdgeType, Int]:
    """Where links and their reverses stand among the messages, for ``excluded``.

    Args:
        edges: the messages of each type, in the order of their sources.
        kind: which of them hold links, and their reverses.
        src: [num_links] sources of the links.
        dst: [num_links] their destinations.
    """

    def positions_in(edge_type: EdgeType, src: Int, dst: Int) -> Int:
        found = kernel.positions_of(src, dst, *edges[edge_type].arrays()[:2])
        found.sort()  # numba's own takes seconds to compile, and longer to sort
        is_new = np.ones(len(found), bool)
        np.not_equal(found[1:], found[:-1], out=is_new[1:])
        return found[is_new]

    positions = {kind.edge_type: positions_in(kind.edge_type, src, dst)}
    if kind.rev_edge_type is not None:
        reverse = positions_in(kind.rev_edge_type, dst, src)
        forward = positions.get(kind.rev_edge_type)
        positions[kind.rev_edge_type] = reverse if forward is None else np.union1d(forward, reverse)
    return positions


def homogeneous(out: HeteroSamplerOutput) -> SamplerOutput:
    """What was sampled from the one node type and the one edge type of a ``Data``."""
    return SamplerOutput(
        node=out.node[HOMOGENEOUS[0]],
        row=out.row[HOMOGENEOUS],
        col=out.col[HOMOGENEOUS],
        edge=out.edge[HOMOGENEOUS],
        batch=None if out.batch is None else out.batch[HOMOGENEOUS[0]],
        num_sampled_nodes=out.num_sampled_nodes[HOMOGENEOUS[0]],
        num_sampled_edges=out.num_sampled_edges[HOMOGENEOUS],
        metadata=out.metadata,
    )
