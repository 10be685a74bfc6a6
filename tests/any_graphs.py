"""Graphs of any kind: one to four node types, homogeneous, undirected, with and without reverse edges."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.storage import BaseStorage
from torch_geometric.typing import EdgeType

from tests.graphs import pairs

Pair = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """A graph and what its links are. Each edge has its number in its type as ``edge_uid``."""

    data: Data | HeteroData
    edge_type: EdgeType | None
    rev_edge_type: EdgeType | None
    is_undirected: bool

    @property
    def types(self) -> dict[str, Any]:
        """Arguments of the library."""
        return {
            "edge_type": self.edge_type,
            "rev_edge_type": self.rev_edge_type,
            "is_undirected": self.is_undirected,
        }

    @property
    def has_one_node_type(self) -> bool:
        return self.edge_type is None or self.edge_type[0] == self.edge_type[-1]

    def store(self, graph: Data | HeteroData) -> BaseStorage:
        return graph.edge_stores[0] if self.edge_type is None else graph[self.edge_type]

    def ends(self, graph: Data | HeteroData) -> list[BaseStorage]:
        return [graph.node_stores[0]] * 2 if self.edge_type is None else [graph[t] for t in self.edge_type[::2]]

    def links(self, edge_index: torch.Tensor) -> set[Pair]:
        """The links among pairs: of an undirected graph both directions are one."""
        found = pairs(edge_index)
        return {(min(pair), max(pair)) for pair in found} if self.is_undirected else found

    def reverse(self, graph: Data | HeteroData) -> set[Pair]:
        """The links whose reverse edges a graph holds."""
        return self.links(graph[self.rev_edge_type].edge_index.flip(0)) if self.rev_edge_type else set()


def edges_between(
    num_src: int, num_dst: int, num_edges: int, rng: np.random.Generator, repeats: int = 0
) -> torch.Tensor:
    """Distinct pairs in no order, some of them repeated."""
    key = rng.choice(num_src * num_dst, min(num_edges, num_src * num_dst), replace=False)
    key = rng.permutation(np.concatenate([key, rng.choice(key, repeats)]))
    return torch.from_numpy(np.stack(np.divmod(key, num_dst)))


def fill(store: BaseStorage, edge_index: torch.Tensor, rng: np.random.Generator) -> None:
    """Edges with attributes of several shapes and kinds."""
    num_edges = edge_index.size(1)
    store.edge_index = edge_index
    store.edge_uid = torch.arange(num_edges)
    store.edge_time = torch.from_numpy(rng.integers(0, 20, num_edges))
    store.edge_attr = torch.stack([store.edge_uid, -store.edge_uid], dim=1).float()
    store.edge_index_of_my_own = torch.stack([store.edge_uid, store.edge_uid])  # PyG joins such along the last axis
    store.edge_words = [str(i) for i in range(num_edges)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random graphs."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    num_types = draw(st.integers(0, 4))  # 0: homogeneous
    is_undirected = num_types < 2 and draw(st.booleans())
    sizes = [draw(st.integers(6, 12)) for _ in range(max(num_types, 1))]
    src, dst = 0, draw(st.integers(0, num_types - 1)) if num_types else 0
    is_undirected = is_undirected and src == dst
    num_links, repeats = draw(st.integers(20, 30)), draw(st.sampled_from([0, 0, 5]))
    links = edges_between(sizes[src], sizes[dst], num_links, rng, repeats)
    if is_undirected:
        links = torch.cat([links, links.flip(0)], dim=1)[:, torch.from_numpy(rng.permutation(2 * links.size(1)))]
    if num_types == 0:
        data = Data(node_id=torch.arange(sizes[0]), x=torch.arange(sizes[0])[:, None].float(), name="graph")
        fill(data.edge_stores[0], links, rng)
        return Case(data, None, None, is_undirected)
    data = HeteroData()
    for i, size in enumerate(sizes):
        data[f"t{i}"].node_id, data[f"t{i}"].own = torch.arange(size), torch.arange(size)[:, None].float()
    edge_type = (f"t{src}", "links", f"t{dst}")
    fill(data[edge_type], links, rng)
    rev_edge_type = None
    if not is_undirected and draw(st.booleans()):
        rev_edge_type = (f"t{dst}", "rev_links", f"t{src}")
        # In the order of the links or in another, and with one that is the reverse of nothing.
        is_mirror = draw(st.booleans())
        order = slice(None) if is_mirror else torch.from_numpy(rng.permutation(links.size(1)))
        fill(data[rev_edge_type], links.flip(0)[:, order], rng)
    for i in range(draw(st.integers(0, 2))):
        ends = rng.integers(0, num_types, 2)
        fill(data[f"t{ends[0]}", f"other{i}", f"t{ends[1]}"], edges_between(*(sizes[e] for e in ends), 15, rng), rng)
    return Case(data, edge_type, rev_edge_type, is_undirected)
