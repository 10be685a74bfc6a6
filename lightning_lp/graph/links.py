"""What links are in any graph of PyG's: which edge type holds them, their reverses, and the attributes of edges."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.storage import N_KEYS, BaseStorage
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.errors import UserError

Graph: TypeAlias = "Data | HeteroData"
HOMOGENEOUS: EdgeType = ("node", "to", "node")
"""What the one edge type of a ``Data`` is called where a name is needed."""
LABELS = ("edge_label_index", "edge_label", "edge_label_id", "edge_label_time")
"""What a part of a split holds beside its messages."""
_OF_NODES = N_KEYS | {"num_nodes"}  # to PyG, whatever their length


@dataclass(frozen=True)
class LinkType:
    """The edge types of the links to predict, those of a ``Data`` by the name ``HOMOGENEOUS``.

    Attributes:
        edge_type: source type, relation and destination type.
        rev_edge_type: type of the reverse edges; ``edge_type`` where links are undirected; None: there are none.
    """

    edge_type: tuple[str, str, str]
    rev_edge_type: tuple[str, str, str] | None

    @property
    def is_undirected(self) -> bool:
        """Whether both directions of a link stand in the one edge type."""
        return self.rev_edge_type == self.edge_type

    @property
    def has_one_node_type(self) -> bool:
        """Whether both ends of a link are of one node type."""
        return self.edge_type[0] == self.edge_type[-1]

    def __str__(self) -> str:
        """The ends in words: what a pair is made of."""
        src, _, dst = self.edge_type
        return "nodes" if self.edge_type == HOMOGENEOUS else f"a {src} and a {dst}"


def link_type(
    graph: Graph, edge_type: EdgeType | None, rev_edge_type: EdgeType | None = None, is_undirected: bool = False
) -> LinkType:
    """Checks edge types against a graph.

    Args:
        graph: any graph.
        edge_type: the links; None for the one edge type of a ``Data``.
        rev_edge_type: their reverse edges; ``edge_type`` itself is another way to say ``is_undirected``.
        is_undirected: both directions of a link stand in the one edge type.

    Raises:
        UserError: the graph has no such type, or its ends do not allow what is said of it.
    """
    if isinstance(graph, Data):
        if edge_type is not None or rev_edge_type is not None:
            raise UserError(
                f"`edge_type` {edge_type}, `rev_edge_type` {rev_edge_type}: None wanted, as a Data has one edge type; "
                "say `is_undirected` where both directions of its links stand in it"
            )
        return LinkType(HOMOGENEOUS, HOMOGENEOUS if is_undirected else None)
    known = graph.edge_types
    for name, given in (("edge_type", edge_type), ("rev_edge_type", rev_edge_type)):
        if given not in known and (given is not None or name == "edge_type"):
            raise UserError(f"`{name}` {given}: one of {known} wanted")
    if edge_type is None:  # refused above
        raise AssertionError
    if is_undirected and rev_edge_type not in (None, edge_type):
        raise UserError(f"`rev_edge_type` {rev_edge_type}: none wanted where `is_undirected` is said")
    reverse = edge_type if is_undirected else rev_edge_type
    if reverse is not None and (reverse[0], reverse[-1]) != (edge_type[-1], edge_type[0]):
        wanted = f"one from {edge_type[-1]} to {edge_type[0]}"
        raise UserError(f"`rev_edge_type` {reverse} of links {edge_type}: {wanted} wanted")
    return LinkType(edge_type, reverse)


def edge_store(graph: Graph, edge_type: EdgeType | None) -> BaseStorage:
    """The attributes of one edge type; those of a ``Data`` for None and ``HOMOGENEOUS``."""
    return graph.edge_stores[0] if isinstance(graph, Data) else graph[edge_type]


def num_nodes(graph: Graph, node_type: NodeType) -> int:
    """How many nodes of a type there are; of all nodes of a ``Data``.

    Raises:
        UserError: nothing tells it.
    """
    num = graph.num_nodes if isinstance(graph, Data) else graph[node_type].num_nodes
    if num is None:
        raise UserError(f"nothing tells how many nodes of type {node_type} there are: set its num_nodes")
    return int(num)


def edge_attrs(graph: Graph, edge_type: EdgeType | None) -> list[str]:
    """Names of the attributes that hold a value for each edge of a type; ``edge_index`` and labels are none.

    Raises:
        UserError: a ``Data`` has as many edges as nodes, and an attribute might be of either.
    """
    store = edge_store(graph, edge_type)
    keys = [key for key in store if key != "edge_index" and key not in LABELS]
    if isinstance(graph, HeteroData):
        return [key for key in keys if store.is_edge_attr(key)]
    if store.num_nodes != store.num_edges:
        return [key for key in keys if key not in _OF_NODES and store.is_edge_attr(key)]
    told = {key for key in keys if "edge" in key}  # as PyG tells them apart
    for key in keys:
        value = store[key]
        if key in told or key in _OF_NODES or "node" in key or not isinstance(value, Tensor | np.ndarray | list):
            continue
        if np.ndim(value) and len(value) == store.num_edges:
            raise UserError(
                f"of {store.num_nodes} nodes and as many edges {key} may tell either: put edge or node in its name"
            )
    return [key for key in keys if key in told]


def keep_edge_attrs(graph: Graph, named: Sequence[str] | None) -> None:
    """Takes the attributes of edges off a graph but those ``named``; None leaves all.

    Raises:
        UserError: no edge type has one of them, or it is not known whether it is of edges.
    """
    found = set()
    for store in graph.edge_stores:
        attrs = edge_attrs(graph, None if isinstance(graph, Data) else store._key)
        found.update(attrs)
        for key in attrs:
            if named is not None and key not in named:
                del store[key]
    if unknown := sorted(set(named or ()) - found):
        raise UserError(f"`edge_attrs` {unknown}: some of {sorted(found)} wanted")


def select(store: BaseStorage, key: str, edge: Tensor) -> Any:
    """The values of an attribute for ``edge`` [num_chosen] int64, as tensor, array or list, whatever they were."""
    value = store[key]
    if isinstance(value, list | tuple):
        return [value[i] for i in edge.tolist()]
    if isinstance(value, Tensor | np.ndarray):
        dim = store._parent().__cat_dim__(key, value, store)
        return value.index_select(dim, edge) if isinstance(value, Tensor) else value.take(edge.numpy(), axis=dim)
    return value[edge]


def columns(pairs: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    """``pairs[:, chosen]`` of [2, num_pairs], in half the time."""
    return torch.from_numpy(np.stack([end.take(chosen) for end in pairs.numpy()]))


def with_num_nodes(graph: Graph) -> Graph:
    """A shallow copy that tells its numbers of nodes even where edges are taken from it."""
    graph = copy(graph)
    for store in graph.node_stores:
        if "num_nodes" not in store and not any(key in _OF_NODES or "node" in key for key in store):
            store.num_nodes = num_nodes(graph, store._key)
    return graph


def edge_indices(graph: Graph) -> dict[EdgeType, Tensor]:
    """The ``edge_index`` of each edge type, that of a ``Data`` by the name ``HOMOGENEOUS``."""
    edge_types = [HOMOGENEOUS] if isinstance(graph, Data) else graph.edge_types
    return {edge_type: edge_store(graph, edge_type).edge_index for edge_type in edge_types}


def skeleton(graph: Graph) -> HeteroData:
    """The node types of a graph, how many nodes of each there are, and the edge types without edges."""
    bare = HeteroData()
    for node_type in [HOMOGENEOUS[0]] if isinstance(graph, Data) else graph.node_types:
        bare[node_type].num_nodes = num_nodes(graph, node_type)
    for edge_type, edge_index in edge_indices(graph).items():
        bare[edge_type].edge_index = edge_index[:, :0]
    return bare


def without_messages(graph: Graph) -> Graph:
    """The same nodes and labels, and no edges of any type: all that is read where nodes have been embedded before."""
    bare = with_num_nodes(graph)
    for store in bare.edge_stores:
        edge_type = None if isinstance(bare, Data) else store._key
        nothing = torch.empty(0, dtype=torch.int64)
        emptied = {key: select(store, key, nothing) for key in edge_attrs(bare, edge_type)}
        for key, value in (emptied | {"edge_index": store.edge_index[:, :0]}).items():
            store[key] = value
    return bare
