"""What sampling by time must give, one message after another."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.storage import BaseStorage

from tests.any_graphs import Case, cases

Link = tuple[int, int, int, float]
"""Source, destination, time and label of what is scored."""
TIME = "edge_time"
"""The attribute of times, also where nodes have them."""


@st.composite
def temporal_cases(draw: st.DrawFn) -> Case:
    """Random graphs of which edges or nodes, or some of them, have times with ties. A few links are labelled none."""
    case = draw(cases())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    where = draw(st.sampled_from(["edges", "edges", "links", "nodes"]))
    for store in case.data.edge_stores:
        del store["edge_words"]  # PyG's loaders select from tensors alone
        is_link = case.edge_type is None or store._key in (case.edge_type, case.rev_edge_type)
        if where == "nodes" or (where == "links" and not is_link):
            del store[TIME]
    links = case.store(case.data)
    num_links = links.edge_index.size(1)
    links.edge_label_index = links.edge_index
    links.edge_label = (torch.rand(num_links, generator=generator) < 0.8).float()
    if where == "nodes":
        given_times = [store for store in case.data.node_stores if draw(st.booleans())] or case.data.node_stores[:1]
        for store in given_times:
            store[TIME] = torch.randint(20, (store.num_nodes,), generator=generator)
        # The first node type may be the source of nothing.
        reaching = case.ends(case.data)[0]
        reaching[TIME] = torch.randint(20, (reaching.num_nodes,), generator=generator)
        links.edge_label_time = torch.randint(20, (num_links,), generator=generator)
    else:
        links.edge_label_time = links[TIME]
    return case


def has_negatives(case: Case) -> bool:
    """Whether each source has a destination that it has no link to."""
    num_dst = case.ends(case.data)[1].num_nodes
    return all(len(taken(case, source)) < num_dst for source in range(case.ends(case.data)[0].num_nodes))


def taken(case: Case, source: int) -> set[int]:
    """What is no negative of a source."""
    links = case.store(case.data).edge_index.t().tolist()
    ends = {v for u, v in links if u == source} | {u for u, v in links if v == source and case.is_undirected}
    return ends | ({source} if case.has_one_node_type else set())


class Reference:
    """Says of each node of each tree which messages it is to get, by the numbers of the edges."""

    def __init__(self, case: Case, num_neighbors: Sequence[int], strategy: str, exclude: bool = True) -> None:
        self.case, self.num_neighbors, self.strategy, self.exclude = case, num_neighbors, strategy, exclude
        self._messages: dict[Any, list[tuple[int, int, int, int | None]]] = {}

    def check(self, batch: Data | HeteroData) -> None:
        """Goes through all trees of a batch."""
        store, whole = self.case.store(batch), self.case.store(self.case.data)
        size = len(store.input_id)
        tree = torch.arange(store.edge_label_index.size(1)) % size
        links = []
        for end, local in zip(self.case.ends(batch), store.edge_label_index, strict=True):
            assert torch.equal(end.batch[local], tree)
            links.append(end.node_id[local[:size]].tolist())
        assert links == whole.edge_label_index[:, store.input_id].tolist()
        assert torch.equal(store.edge_label_time, whole.edge_label_time[store.input_id][tree])
        labels = whole.edge_label[store.input_id].tolist() if len(tree) == size else [1.0] * size
        assert store.edge_label.tolist() == labels + [0.0] * (len(tree) - size)
        for nodes in batch.node_stores:
            assert len(set(zip(nodes.batch.tolist(), nodes.node_id.tolist(), strict=True))) == nodes.num_nodes
            assert sum(nodes.num_sampled_nodes) == nodes.num_nodes
        link_of = list(zip(*links, store.edge_label_time[:size].tolist(), labels, strict=True))
        for edges, everything in zip(batch.edge_stores, self.case.data.edge_stores, strict=True):
            self.check_edges(batch, edges, everything, link_of)

    def check_edges(
        self, batch: Data | HeteroData, edges: BaseStorage, everything: BaseStorage, link_of: list[Link]
    ) -> None:
        src, dst = [batch.node_stores[0]] * 2 if isinstance(batch, Data) else [batch[t] for t in edges._key[::2]]
        row, col = edges.edge_index
        assert torch.equal(src.batch[row], dst.batch[col])
        ends = torch.stack([src.node_id[row], dst.node_id[col]])
        assert torch.equal(ends, everything.edge_index[:, edges.edge_uid])
        first_edge = first_node = 0
        for hop, fan_out in enumerate(self.num_neighbors):
            last_edge, last_node = (
                first_edge + edges.num_sampled_edges[hop],
                first_node + dst.num_sampled_nodes[hop],
            )
            sampled: dict[int, list[int]] = {local: [] for local in range(first_node, last_node)}
            for local, uid in zip(
                col[first_edge:last_edge].tolist(), edges.edge_uid[first_edge:last_edge].tolist(), strict=True
            ):
                sampled[local].append(uid)
            for local, found in sampled.items():
                link = link_of[int(dst.batch[local])]
                self._check_node(found, self.allowed(everything, int(dst.node_id[local]), link), fan_out)
            first_edge, first_node = last_edge, last_node
        assert first_edge == edges.edge_index.size(1)

    def _check_node(self, found: list[int], allowed: list[int], fan_out: int) -> None:
        num = len(allowed) if fan_out < 0 else min(fan_out, len(allowed))
        if num == len(allowed) or self.strategy == "last":
            assert found == allowed[len(allowed) - num :]
        else:
            assert len(found) == num
            assert found == [uid for uid in allowed if uid in found]

    def allowed(self, everything: BaseStorage, node: int, link: Link) -> list[int]:
        """The messages to a node that are earlier than a link, by time, source and place in the graph."""
        if everything._key not in self._messages:
            ends = enumerate(everything.edge_index.t().tolist())
            self._messages[everything._key] = [(uid, u, v, self.time(everything, uid, u)) for uid, (u, v) in ends]
        key = []
        for uid, u, v, time in self._messages[everything._key]:
            if v == node and (time is None or time < link[2]) and not self.is_hidden(everything, (u, v), link):
                key.append((0 if time is None else time, u, uid))
        return [uid for _, _, uid in sorted(key)]

    def time(self, everything: BaseStorage, uid: int, source: int) -> int | None:
        """When a message is sent, None if there are no times."""
        graph = self.case.data
        if TIME in everything and (isinstance(graph, HeteroData) or graph.is_edge_attr(TIME)):
            return int(everything[TIME][uid])
        nodes = graph.node_stores[0] if isinstance(graph, Data) else graph[everything._key[0]]
        return int(nodes[TIME][source]) if TIME in nodes else None

    def is_hidden(self, everything: BaseStorage, pair: tuple[int, int], link: Link) -> bool:
        """Whether it is the link itself, of a type whose edges have no times of their own."""
        graph, case = self.case.data, self.case
        if (
            not self.exclude
            or link[3] == 0
            or (TIME in everything and (isinstance(graph, HeteroData) or graph.is_edge_attr(TIME)))
        ):
            return False
        is_links = case.edge_type is None or everything._key == case.edge_type
        is_reverse = case.is_undirected if is_links else everything._key == case.rev_edge_type
        return (is_links and pair == link[:2]) or (is_reverse and pair == link[1::-1])


def trees(case: Case, batch: Data | HeteroData) -> dict[int, Any]:
    """What is scored and sampled for each link, in no order."""
    store, found = case.store(batch), {}
    for i, link in enumerate(store.input_id.tolist()):
        src, dst = (
            end.node_id[local][end.batch[local] == i].tolist()
            for end, local in zip(case.ends(batch), store.edge_label_index, strict=True)
        )
        messages = []
        for edges in batch.edge_stores:
            receivers = batch.node_stores[0] if isinstance(batch, Data) else batch[edges._key[-1]]
            messages.append(sorted(edges.edge_uid[receivers.batch[edges.edge_index[1]] == i].tolist()))
        found[link] = src, dst, messages
    return found
