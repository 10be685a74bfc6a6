"""Neighbourhoods by time: each link has a tree of its own, of messages that were sent before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.errors import UserError, require
from lightning_lp.graph import temporal_kernel
from lightning_lp.graph.csc import Csc, Times
from lightning_lp.graph.expansion import Edges
from lightning_lp.graph.links import HOMOGENEOUS, Graph, LinkType, edge_attrs, edge_store

Int = NDArray[np.int64]
TemporalStrategy: TypeAlias = Literal["uniform", "last"]
"""Which of the neighbours before the time of a link are sampled: any, or the latest."""
_FEWEST_SLOTS = 1 << 10


def check_strategy(temporal_strategy: str, time_attr: str | None) -> None:
    """Refuses a strategy that does not exist, and one without times.

    Raises:
        UserError: it is not to be.
    """
    known = get_args(TemporalStrategy)
    require(temporal_strategy in known, "`temporal_strategy`", temporal_strategy, f"one of {', '.join(known)}")
    if time_attr is None and temporal_strategy != "uniform":
        raise UserError(f"`temporal_strategy` {temporal_strategy}: needs times, name them with `time_attr`")


def check_times(time: Tensor | None, time_attr: str | None, name: str) -> None:
    """Refuses times that the sampler would not look at, and a lack of those that it needs.

    Args:
        time: the times of what is sampled for.
        time_attr: the times of messages.
        name: what ``time`` is called.

    Raises:
        ValueError: there is the one without the other, or times are no whole numbers.
    """
    if time is None and time_attr is not None:
        raise ValueError(f"LinkNeighborSampler with time_attr {time_attr} needs {name}: before what to sample messages")
    if time is not None and time_attr is None:
        raise ValueError(
            f"LinkNeighborSampler does not look at times without time_attr, so messages of the future would be among "
            f"those sampled: give it time_attr, or leave out {name}"
        )
    if time is not None and time.is_floating_point():
        raise ValueError(f"{name}: whole numbers wanted, as the times of messages are, got {time.dtype}")


def times_of(graph: Graph, time_attr: str, kind: LinkType) -> dict[EdgeType, Times]:
    """When the messages of a graph are sent: the time of the edge, or else of the node that the message comes from.

    Args:
        graph: any graph.
        time_attr: an attribute of edges or nodes, int64.
        kind: which edges hold links, and their reverses.

    Returns:
        The times of each edge type that has any: of its own, or else of its sources.

    Raises:
        UserError: no edges and no nodes have such an attribute, links have it and their reverse edges do not (or the
            other way round), or it is not one whole number for each.
    """
    found = {}
    is_homogeneous = isinstance(graph, Data)
    for edge_type in [HOMOGENEOUS] if is_homogeneous else graph.edge_types:
        store = edge_store(graph, edge_type)
        source = store if is_homogeneous else graph[edge_type[0]]
        if time_attr in store and (not is_homogeneous or time_attr in edge_attrs(graph, None)):
            found[edge_type] = Times(_whole(store[time_attr], time_attr, store.num_edges))
        elif time_attr in source:
            found[edge_type] = Times(_whole(source[time_attr], time_attr, source.num_nodes), of_sources=True)
    if not found:
        raise UserError(f"`time_attr` {time_attr}: an attribute of edges or of the nodes they come from wanted")
    if kind.rev_edge_type is not None:
        ends = kind.edge_type, kind.rev_edge_type
        with_times = [edge_type for edge_type in ends if edge_type in found and not found[edge_type].of_sources]
        if len(with_times) == 1:
            raise UserError(
                f"`time_attr` {time_attr}: of {ends[0]} and its reverse {ends[1]} only {with_times[0]} has it, so the "
                "future would be seen through the other: give it to both"
            )
    return found


def _whole(time: object, time_attr: str, num: int) -> Tensor:
    is_whole = isinstance(time, Tensor) and not time.is_floating_point() and not time.is_complex()
    if not isinstance(time, Tensor) or not is_whole or tuple(time.shape) != (num,):
        given = f"{time.dtype} {list(time.shape)}" if isinstance(time, Tensor) else type(time).__name__
        raise UserError(f"`time_attr` {time_attr}: a tensor of {num} whole numbers wanted, got {given}")
    return time.to(torch.int64)


def hidden_ranges(
    edges: Mapping[EdgeType, Csc], kind: LinkType, links: Int, label: Tensor | None
) -> dict[EdgeType, Int]:
    """Where links and their reverses stand among messages that have no times of their own.

    Messages with such a time need no hiding: those of a link are no earlier than the link.

    Args:
        edges: the messages of each type.
        kind: which of them hold links, and their reverses.
        links: [2, num_trees] source and destination of the link of each tree.
        label: [num_trees] 0 where it is none: there is nothing to hide. Default: all are links.

    Returns:
        Ranges of positions [num_ranges, 2, num_trees] in the CSC graphs, by edge type.
    """
    found: dict[EdgeType, list[Int]] = {}
    for edge_type, ends in ((kind.edge_type, links), (kind.rev_edge_type, links[::-1])):
        if edge_type is None or edges[edge_type].has_own_times:
            continue
        colptr, row, time = edges[edge_type].arrays()
        source_time = edges[edge_type].source_time
        moment = np.empty(0, np.int64) if source_time is None else source_time.numpy()
        ranges = temporal_kernel.ranges_of(ends[0], ends[1], colptr, row, time, moment)
        if label is not None:
            ranges[:, label.numpy() <= 0] = 0
        found.setdefault(edge_type, []).append(ranges)
    return {edge_type: np.stack(ranges) for edge_type, ranges in found.items()}


@dataclass(frozen=True)
class Trees:
    """What a batch's trees are made by.

    Attributes:
        before: [num_trees] int64: only earlier messages are sampled.
        key: [num_trees] int64: what the draws of each depend on.
        hidden: as :func:`hidden_ranges` finds them.
    """

    before: Int
    key: Int
    hidden: Mapping[EdgeType, Int]


class DisjointNeighborhood:
    """A neighbourhood for each tree, in which each node is once.

    Args:
        edges: the messages of each type.
        num_nodes: how many nodes of each type there are.
        order: 0, 1, 2, ..., as far as nodes have neighbours; scratch.
        trees: what they are made by.
        is_last: take the latest neighbours, instead of any.
    """

    def __init__(
        self,
        edges: Mapping[EdgeType, Csc],
        num_nodes: Mapping[NodeType, int],
        order: Int,
        trees: Trees,
        is_last: bool,
    ) -> None:
        self._edges, self._order, self._trees, self._is_last = edges, order, trees, is_last
        self._found = {node_type: _Numbers(num) for node_type, num in num_nodes.items()}
        self.count = dict.fromkeys(num_nodes, 0)

    def add(self, node_type: NodeType, node: Int, tree: Int) -> Int:
        """The local index of each node in its tree."""
        numbers = self._found[node_type]
        local = numbers.add(node, tree)
        self.count[node_type] = numbers.count
        return local

    def sample(self, edge_type: EdgeType, key: np.int64, fan_out: int, start: int, stop: int) -> Edges:
        """Samples messages to the nodes with local indices from ``start`` to ``stop``, and counts their sources in."""
        colptr, row, time = self._edges[edge_type].arrays()
        receivers, trees = self._found[edge_type[-1]], self._trees
        tree = receivers.tree[start:stop]
        edge, col = temporal_kernel.sample_earlier(
            key,
            receivers.node[start:stop],
            tree,
            fan_out,
            self._is_last,
            trees.before,
            trees.key,
            colptr,
            time,
            trees.hidden.get(edge_type, np.empty((0, 2, 0), np.int64)),
            self._order,
        )
        return self.add(edge_type[0], row[edge], tree[col]), col + start, edge

    def nodes(self) -> dict[NodeType, Int]:
        """The global indices of all that have been found."""
        return {node_type: numbers.node[: numbers.count].copy() for node_type, numbers in self._found.items()}

    def batch(self) -> dict[NodeType, Tensor]:
        """The tree of each, int64."""
        return {t: torch.from_numpy(numbers.tree[: numbers.count].copy()) for t, numbers in self._found.items()}


class _Numbers:
    """The nodes of one type in the order in which trees have found them: their global indices and trees."""

    def __init__(self, num_nodes: int) -> None:
        self._num_nodes, self.count = num_nodes, 0
        self._slots = np.full(_FEWEST_SLOTS, -1, np.int32)
        self.node, self.tree = (np.empty(_FEWEST_SLOTS // 2, np.int64) for _ in range(2))

    def add(self, node: Int, tree: Int) -> Int:
        """The number of each node in its tree."""
        self._reserve(self.count + len(node))
        out, self.count = self._insert(node, tree, self.count)
        return out

    def _insert(self, node: Int, tree: Int, count: int) -> tuple[Int, int]:
        return temporal_kernel.number_in_trees(node, tree, self._num_nodes, self._slots, self.node, self.tree, count)

    def _reserve(self, num: int) -> None:
        """Makes room for so many nodes, in a table that is at most half full."""
        if 2 * num <= len(self._slots):
            return
        self._slots = np.full(1 << (2 * num - 1).bit_length(), -1, np.int32)
        node, tree = self.node[: self.count], self.tree[: self.count]
        self.node, self.tree = (np.empty(len(self._slots) // 2, np.int64) for _ in range(2))
        self._insert(node, tree, 0)
