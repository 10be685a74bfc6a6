"""Which edges make up a link, and what is left of a graph when some links are taken out of it."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data.storage import BaseStorage
from torch_geometric.typing import EdgeType

from lightning_lp.graph.links import Graph, LinkType, columns, edge_attrs, edge_store, num_nodes, select
from lightning_lp.graph.non_links import in_random_direction

Int = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Members:
    """The links of a graph, and the edges and reverse edges of each.

    Attributes:
        links: [2, num_links] int64, each pair of nodes once.
        time: [num_links] time of each, the latest of its edges; None: unknown.
        edge_id: [num_links] the edge that stands for a link; None: link i is edge i.
        link_of: [num_edges] the link of each edge; None: edge i is link i.
        link_of_reverse: [num_reverse_edges] the link of each reverse edge, -1 where there is none; None: reverse edge i
            is that of edge i.
    """

    links: Tensor
    time: NDArray[Any] | None
    edge_id: Int | None
    link_of: Int | None
    link_of_reverse: Int | None

    def ids(self, links: Int) -> Tensor:
        """The edges that stand for links, int32 where there are less than 2^31."""
        ids = links if self.edge_id is None else self.edge_id[links]
        num_edges = self.links.size(1) if self.link_of is None else len(self.link_of)
        return torch.from_numpy(ids.astype(np.int32 if num_edges < 2**31 else np.int64))

    def times(self, links: Int) -> Tensor:
        """The times of links, which must have some."""
        if self.time is None:
            raise AssertionError
        return torch.from_numpy(self.time[links])

    def least(self, of_edges: NDArray[Any]) -> NDArray[Any]:
        """[num_links] the least of what is said of each link's edges, from [num_edges]."""
        if self.link_of is None:
            return of_edges
        found = np.full(self.links.size(1), of_edges.max(initial=0))
        np.minimum.at(found, self.link_of, of_edges)
        return found


def find_members(data: Graph, kind: LinkType, time_attr: str, rng: np.random.Generator) -> Members:
    """Finds the links of a graph.

    Args:
        data: any graph.
        kind: the type of the links.
        time_attr: name of the edges' times, if there are any.
        rng: where the directions of undirected links come from; nothing else is drawn.
    """
    edge_index = edge_store(data, kind.edge_type).edge_index
    time = _times(data, kind, time_attr)
    num_dst = num_nodes(data, kind.edge_type[-1])
    src, dst = edge_index.numpy().astype(np.int64, copy=False)
    if kind.is_undirected:
        src, dst = np.minimum(src, dst), np.maximum(src, dst)
    keys = src * num_dst + dst
    if not kind.is_undirected and (keys[1:] > keys[:-1]).all():
        return Members(edge_index, time, None, None, _link_of_reverse(data, kind, keys, None))
    unique, link_of = np.unique(keys, return_inverse=True)
    if not kind.is_undirected and len(unique) == len(keys):
        edge_id = np.argsort(keys)  # which edge has each of the keys
        return Members(edge_index, time, None, None, _link_of_reverse(data, kind, unique, edge_id))
    links = torch.from_numpy(np.stack(np.divmod(unique, num_dst)))
    # The latest edge stands for a link, of equal ones the first: where an index is repeated, the last value stays.
    order = np.arange(len(keys))[::-1]
    if time is not None:
        order = order[np.argsort(time[order], kind="stable")]
    edge_id = np.empty(len(unique), np.int64)
    edge_id[link_of[order]] = order
    return Members(
        in_random_direction(links, rng) if kind.is_undirected else links,
        None if time is None else time[edge_id],
        edge_id,
        link_of,
        None if kind.is_undirected else _link_of_reverse(data, kind, unique, None),
    )


def messages_of(data: Graph, kind: LinkType, members: Members, kept: Mask) -> Graph:
    """The graph with the edges, and reverse edges, of the links where ``kept`` [num_links] alone.

    All attributes of the edges are kept with them; everything else is shared with ``data``.
    """
    graph = copy(data)
    edge = np.flatnonzero(kept if members.link_of is None else kept[members.link_of])
    whole, store = (edge_store(one, kind.edge_type) for one in (data, graph))
    _keep(data, kind.edge_type, store, edge)
    if kind.rev_edge_type is None or kind.is_undirected:
        store.edge_index = columns(whole.edge_index, edge)
        return graph
    rev_whole, rev_store = (edge_store(one, kind.rev_edge_type) for one in (data, graph))
    if members.link_of_reverse is None:
        # The two share the row of the destinations, and what they share in the whole graph.
        ends = whole.edge_index.numpy()
        rows = np.empty((3, len(edge)), ends.dtype)
        for end, row in zip(ends, rows, strict=False):
            end.take(edge, out=row, mode="clip")  # the mode that needs no second copy; edge is within bounds
        rows[2] = rows[0]
        both = torch.from_numpy(rows)
        store.edge_index, rev_store.edge_index = both[:2], both[1:]
        shared = {key: store[key] for key in rev_whole if key in whole and rev_whole[key] is whole[key]}
        _keep(data, kind.rev_edge_type, rev_store, edge, shared)
        return graph
    rev_edge = np.flatnonzero((members.link_of_reverse < 0) | kept[members.link_of_reverse])
    store.edge_index = columns(whole.edge_index, edge)
    rev_store.edge_index = columns(rev_whole.edge_index, rev_edge)
    _keep(data, kind.rev_edge_type, rev_store, rev_edge)
    return graph


def _keep(
    data: Graph, edge_type: EdgeType, store: BaseStorage, edge: Int, known: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Writes the attributes of the edges that are kept to ``store``: those ``known``, and the rest selected."""
    index = torch.from_numpy(edge)
    for key in edge_attrs(data, edge_type):
        store[key] = known[key] if key in known else select(edge_store(data, edge_type), key, index)


def _times(data: Graph, kind: LinkType, time_attr: str) -> NDArray[Any] | None:
    """The times of the edges, if they have any."""
    store = edge_store(data, kind.edge_type)
    if time_attr not in store or len(store[time_attr]) != store.edge_index.size(1):
        return None
    return np.asarray(store[time_attr])


def _link_of_reverse(data: Graph, kind: LinkType, keys: Int, order: Int | None) -> Int | None:
    """The link of each reverse edge, as in ``Members``; ``keys`` ascend and are those of links ``order``."""
    if kind.rev_edge_type is None:
        return None
    edge_index = edge_store(data, kind.edge_type).edge_index
    dst, src = edge_store(data, kind.rev_edge_type).edge_index
    if len(src) == edge_index.size(1) and torch.equal(src, edge_index[0]) and torch.equal(dst, edge_index[1]):
        return None
    if not len(keys):
        return np.full(len(src), -1)
    wanted = src.numpy().astype(np.int64) * num_nodes(data, kind.edge_type[-1]) + dst.numpy()
    place = np.searchsorted(keys, wanted)
    place[place == len(keys)] = 0
    link = place if order is None else order[place]
    found: Int = np.where(keys[place] == wanted, link, -1)
    return found
