"""The neighbour sampler behind ``LinkNeighborLoader``."""

import math
import warnings
from collections.abc import MutableMapping
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import (
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NeighborSampler,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.base import DataType
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.graph import kernel
from lightning_lp.graph.links import HOMOGENEOUS, Graph, LinkType, edge_store, link_type, num_nodes

Int = NDArray[np.int64]
Csc = tuple[Tensor, Tensor, Tensor | None]
_NEGATIVES, _NEIGHBORS = 1, 2  # what a key is for
_SORTED: MutableMapping[Tensor, tuple[tuple[int, ...], Csc]] = WeakTensorKeyDictionary()
"""Of each ``edge_index``: training's messages are validation's, and the positives."""


class LinkNeighborSampler(NeighborSampler):  # type: ignore[misc]
    """Samples the neighbourhood of links, reproducibly and without leakage.

    Pass it to PyG's loader: ``LinkNeighborLoader(data, num_neighbors, neighbor_sampler=sampler, ...)``. The
    output is that of PyG's own sampler (which needs a native package that PyPI does not carry), and besides:

    - ``exclude_seed_links``: the links being scored carry no messages in their own batch, in either direction.
    - Negatives are never links of ``positives``, in undirected graphs neither their reverse, and no node is paired
      with itself.
    - What is sampled for a batch depends on the seed, the epoch and the batch's links: not on the process, the
      worker or what was sampled before. A negative depends on its own link, whatever else is in the batch.
    - ``num_replicas`` processes that are given the same batch score equal shares of it, and together send the messages
      that one process would: none scores a link whose message another sends.
    - Neighbours are uniform, without replacement; a fan-out of -1 takes all.

    Args:
        data: the graph of messages; its attributes are not looked at.
        num_neighbors: fan-out of each hop, or a dictionary of them by edge type, as PyG's.
        edge_type: type of the links to be scored, None in a ``Data``. Both its ends may be of one node type.
        rev_edge_type: type of their reverse edges; ``edge_type`` itself where links are undirected. Default: none.
        is_undirected: both directions of a link stand in the one edge type; the way to say so of a ``Data``.
        exclude_seed_links: leave the links of a batch out of its messages (of labelled links the positive ones).
        positives: [2, num_links] links that are never drawn as negatives. Default: those of ``data``.
        seed: seed of every draw.
        num_replicas: number of processes that share each batch.
        rank: number of this process, which takes the ``rank``-th part.

    Examples:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from torch_geometric.sampler import EdgeSamplerInput
        >>> from lightning_lp.graph.sampler import LinkNeighborSampler
        >>> data = Data(edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), num_nodes=4)
        >>> link = EdgeSamplerInput(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]))
        >>> out = LinkNeighborSampler(data, [-1]).sample_from_edges(link)
        >>> out.node[out.row], out.node[out.col]  # what 0 hears; 1 hears nothing, for 0 -> 1 is being scored
        (tensor([3]), tensor([0]))
    """

    def __init__(
        self,
        data: Graph,
        num_neighbors: list[int] | dict[EdgeType, list[int]],
        *,
        edge_type: EdgeType | None = None,
        rev_edge_type: EdgeType | None = None,
        is_undirected: bool = False,
        exclude_seed_links: bool = True,
        positives: Tensor | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        kind = link_type(data, edge_type, rev_edge_type, is_undirected)
        edges = _edges(data)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pyg-lib.*")  # this class replaces what it samples with
            super().__init__(_without_edges(data, edges), num_neighbors)  # which would sort each graph anew
        self.data_type = DataType.from_data(data)
        self.edge_type, self.rev_edge_type = kind.edge_type, kind.rev_edge_type
        self.exclude_seed_links = exclude_seed_links
        self.seed, self.num_replicas, self.rank = seed, num_replicas, rank
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # also seen by running workers
        for name, key in self.to_edge_type.items():
            csc = _csc(edges[key], self.num_nodes[key[0]], self.num_nodes[key[-1]])
            self.colptr_dict[name], self.row_dict[name], self.perm[key] = csc
        self._knows_epoch = False
        self._positives: tuple[Tensor, Tensor] | None = None  # CSC, where it is not that of the messages
        if positives is not None or kind.has_one_node_type:
            avoided = _avoided(edges[kind.edge_type] if positives is None else positives, kind, self.num_nodes)
            self._positives = _csc(avoided, *(self.num_nodes[kind.edge_type[end]] for end in (0, -1)))[:2]
        # Scratch space of the kernels, left clean by every call.
        self._local = {node_type: np.full(n, -1) for node_type, n in self.num_nodes.items()}
        self._nodes = {node_type: np.empty(n, np.int64) for node_type, n in self.num_nodes.items()}
        degrees = [colptr.diff() for colptr in self.colptr_dict.values()]
        self._order = np.arange(max((int(degree.max()) for degree in degrees if len(degree)), default=0))

    @property
    def edge_permutation(self) -> Tensor | dict[EdgeType, Tensor | None] | None:
        """Where sampled edges stand in the graph: by edge type, but in a ``Data``."""
        return self.perm if self.is_hetero else self.perm[HOMOGENEOUS]  # type: ignore[no-any-return]

    def set_epoch(self, epoch: int) -> None:
        """Makes the draws of this epoch from now on, also in workers that are already running."""
        self._epoch.fill_(epoch)
        self._knows_epoch = True

    def sample_from_edges(
        self, inputs: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> HeteroSamplerOutput | SamplerOutput:
        """Samples the neighbourhood of links, with binary negatives if asked for.

        Args:
            inputs: the links, of type ``edge_type``; ``label`` [num_links] or none.
            neg_sampling: mode ``binary`` with uniform weights, or none.

        Returns:
            PyG's output, with ``metadata`` (input_id, edge_label_index [2, num_labels], edge_label
            [num_labels], None): the links of this process first, then their negatives with label 0.

        Raises:
            ValueError: another kind of negatives is asked for, every pair is a link already, or links have times.
        """
        _refuse_time(inputs.time)
        src, dst, label = inputs.row.numpy(), inputs.col.numpy(), inputs.label
        link_id = inputs.input_id.numpy()
        key = self._key(_NEIGHBORS, kernel.hash_array(link_id))
        is_link = slice(None) if label is None else label.numpy() > 0
        excluded = self._positions(src[is_link], dst[is_link]) if self.exclude_seed_links else {}
        size = len(link_id) // self.num_replicas
        mine = slice(self.rank * size, (self.rank + 1) * size)
        src, dst, link_id, label = src[mine], dst[mine], link_id[mine], None if label is None else label[mine]
        if neg_sampling is not None:
            neg_src, neg_dst = self._draw_negatives(link_id, neg_sampling)
            src, dst = np.concatenate([src, neg_src]), np.concatenate([dst, neg_dst])
            label = torch.ones(len(link_id)) if label is None else label
            label = torch.cat([label, label.new_zeros(len(neg_src))])
        out, ends = self._expand(key, [(self.edge_type[0], src), (self.edge_type[-1], dst)], excluded)
        edge_label_index = torch.from_numpy(np.stack(ends))
        out.metadata = (inputs.input_id[mine], edge_label_index, label, None)
        return out if self.is_hetero else _homogeneous(out)

    def sample_from_nodes(self, inputs: NodeSamplerInput) -> HeteroSamplerOutput | SamplerOutput:
        """Samples the neighbourhood of nodes (for ``NeighborLoader``); no messages are left out."""
        _refuse_time(inputs.time)
        node = inputs.node.numpy()
        node_type = inputs.input_type if self.is_hetero else HOMOGENEOUS[0]
        out, _ = self._expand(self._key(_NEIGHBORS, kernel.hash_array(node)), [(node_type, node)], {})
        out.metadata = (inputs.input_id, None)
        return out if self.is_hetero else _homogeneous(out)

    def _key(self, *what: int | np.int64) -> np.int64:
        """The key of the draws for ``what``, in this epoch."""
        return kernel.hash_array(np.array([self.seed, int(self._epoch), *what]))

    def _csc(self, edge_type: EdgeType) -> tuple[Int, Int]:
        name = self.to_rel_type[edge_type]
        return self.colptr_dict[name].numpy(), self.row_dict[name].numpy()

    def _draw_negatives(self, link_id: Int, neg_sampling: NegativeSampling) -> tuple[Int, Int]:
        weighted = neg_sampling.src_weight is not None or neg_sampling.dst_weight is not None
        if weighted or not neg_sampling.is_binary():
            raise ValueError(f"LinkNeighborSampler draws uniform binary negatives only, got {neg_sampling}")
        if not self._knows_epoch:
            self._knows_epoch = True  # told once
            warnings.warn(
                "nobody tells the LinkNeighborSampler which epoch it is, so each would draw the same negatives: give "
                "the loader sampler=LinkOrder(num_links, batch_size, shuffle=True, sampler=...), or call set_epoch",
                stacklevel=2,
            )
        if not self._has_non_links:
            raise ValueError("every pair of nodes is a link: there are no negatives to draw")
        colptr, row = self._avoided_csc
        num_src = self.num_nodes[self.edge_type[0]]
        num_neg = math.ceil(len(link_id) * neg_sampling.amount)
        return kernel.draw_negatives(self._key(_NEGATIVES), link_id, num_neg, num_src, colptr, row)

    @property
    def _avoided_csc(self) -> tuple[Int, Int]:
        """The pairs that are no negatives."""
        if self._positives is None:
            return self._csc(self.edge_type)
        return self._positives[0].numpy(), self._positives[1].numpy()

    @cached_property
    def _has_non_links(self) -> bool:
        (colptr, row), (src, _, dst) = self._avoided_csc, self.edge_type
        num_pairs: int = self.num_nodes[src] * self.num_nodes[dst]
        if len(row) < num_pairs:
            return True
        col = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))  # some pairs may be there twice
        return len(np.unique(col * self.num_nodes[src] + row)) < num_pairs

    def _positions(self, src: Int, dst: Int) -> dict[EdgeType, Int]:
        """Where links and their reverses stand among the messages."""
        positions = {self.edge_type: kernel.positions_of(src, dst, *self._csc(self.edge_type))}
        if self.rev_edge_type is not None:
            reverse = kernel.positions_of(dst, src, *self._csc(self.rev_edge_type))
            forward = positions.get(self.rev_edge_type)
            positions[self.rev_edge_type] = reverse if forward is None else np.union1d(forward, reverse)
        return positions

    def _expand(
        self, key: np.int64, seeds: list[tuple[NodeType, Int]], excluded: dict[EdgeType, Int]
    ) -> tuple[HeteroSamplerOutput, list[Int]]:
        """Samples hop after hop. Returns PyG's output, and the local indices of each array of seeds."""
        count = dict.fromkeys(self.node_types, 0)  # nodes so far
        local: list[Int] = []
        for node_type, node in seeds:
            index, count[node_type] = self._number(node_type, node, count[node_type])
            local.append(index)
        nodes_per_hop = [count.copy()]
        edges_per_hop: list[dict[EdgeType, tuple[Int, Int, Int]]] = []
        fan_out = self.num_neighbors.get_mapped_values(self.edge_types)
        nothing = np.empty(0, np.int64)
        start = dict.fromkeys(self.node_types, 0)  # the frontier: nodes from here ...
        for hop in range(self.num_neighbors.num_hops):
            stop = count.copy()  # ... to here
            edges_per_hop.append({})
            for i, edge_type in enumerate(self.edge_types):
                src_type, _, dst_type = edge_type
                colptr, row = self._csc(edge_type)
                edge, col = kernel.sample_hop(
                    kernel.hash_array(np.array([key, hop, i])),
                    self._nodes[dst_type][start[dst_type] : stop[dst_type]],
                    start[dst_type],
                    fan_out[self.to_rel_type[edge_type]][hop],
                    colptr,
                    excluded.get(edge_type, nothing),
                    self._order,
                )
                source, count[src_type] = self._number(src_type, row[edge], count[src_type])
                edges_per_hop[-1][edge_type] = source, col, edge
            start = stop
            nodes_per_hop.append({node_type: count[node_type] - stop[node_type] for node_type in count})
        return self._output(count, nodes_per_hop, edges_per_hop), local

    def _number(self, node_type: NodeType, node: Int, count: int) -> tuple[Int, int]:
        return kernel.relabel(node, self._local[node_type], self._nodes[node_type], count)

    def _output(
        self,
        count: dict[NodeType, int],
        nodes_per_hop: list[dict[NodeType, int]],
        edges_per_hop: list[dict[EdgeType, tuple[Int, Int, Int]]],
    ) -> HeteroSamplerOutput:
        node = {node_type: self._nodes[node_type][:n].copy() for node_type, n in count.items()}
        for node_type, nodes in node.items():
            self._local[node_type][nodes] = -1
        row, col, edge = (
            {
                edge_type: torch.from_numpy(np.concatenate([edges[edge_type][part] for edges in edges_per_hop]))
                for edge_type in self.edge_types
            }
            for part in range(3)
        )
        return HeteroSamplerOutput(
            node={node_type: torch.from_numpy(nodes) for node_type, nodes in node.items()},
            row=row,
            col=col,
            edge=edge,
            num_sampled_nodes={t: [nodes[t] for nodes in nodes_per_hop] for t in self.node_types},
            num_sampled_edges={t: [len(edges[t][0]) for edges in edges_per_hop] for t in self.edge_types},
        )


def _edges(data: Graph) -> dict[EdgeType, Tensor]:
    """The ``edge_index`` of each edge type."""
    edge_types = [HOMOGENEOUS] if isinstance(data, Data) else data.edge_types
    return {edge_type: edge_store(data, edge_type).edge_index for edge_type in edge_types}


def _without_edges(data: Graph, edges: dict[EdgeType, Tensor]) -> HeteroData:
    """The node and edge types of a graph, and how many nodes there are."""
    bare = HeteroData()
    for node_type in [HOMOGENEOUS[0]] if isinstance(data, Data) else data.node_types:
        bare[node_type].num_nodes = num_nodes(data, node_type)
    for edge_type, edge_index in edges.items():
        bare[edge_type].edge_index = edge_index[:, :0]
    return bare


def _avoided(positives: Tensor, kind: LinkType, num_nodes: dict[NodeType, int]) -> Tensor:
    """The pairs that are no negatives, each once: of one node type also each node with itself, and reverse links."""
    if not kind.has_one_node_type:
        return positives
    loops = torch.arange(num_nodes[kind.edge_type[0]]).expand(2, -1)
    reverse = [positives.flip(0)] if kind.is_undirected else []
    avoided: Tensor = torch.unique(torch.cat([positives, *reverse, loops], dim=1), dim=1)
    return avoided


def _homogeneous(out: HeteroSamplerOutput) -> SamplerOutput:
    """What was sampled from the one node type and the one edge type of a ``Data``."""
    return SamplerOutput(
        node=out.node[HOMOGENEOUS[0]],
        row=out.row[HOMOGENEOUS],
        col=out.col[HOMOGENEOUS],
        edge=out.edge[HOMOGENEOUS],
        num_sampled_nodes=out.num_sampled_nodes[HOMOGENEOUS[0]],
        num_sampled_edges=out.num_sampled_edges[HOMOGENEOUS],
        metadata=out.metadata,
    )


def _refuse_time(time: Tensor | None) -> None:
    if time is not None:
        raise ValueError(
            "LinkNeighborSampler does not look at times yet, so messages of the future would be among those sampled: "
            "leave out edge_label_time (input_time) and time_attr, or split the links by time"
        )


def _csc(edge_index: Tensor, num_src: int, num_dst: int) -> Csc:
    """The edges as :func:`_to_csc` sorts them, once for all samplers over the same tensor."""
    what = edge_index._version, num_src, num_dst  # another version: it was written to
    known = _SORTED.get(edge_index)
    if known is None or known[0] != what:
        known = _SORTED[edge_index] = what, _to_csc(edge_index, num_src, num_dst)
    return known[1]


def _to_csc(edge_index: Tensor, num_src: int, num_dst: int) -> Csc:
    """Sorts edges by destination, then source.

    Returns:
        Pointers [num_dst + 1], int64; sources [num_edges], int32 if they fit; permutation [num_edges], int64, or None
        where the edges are in order.
    """
    src, dst = edge_index
    key, perm = dst * num_src + src, None
    if (key[1:] < key[:-1]).any():
        key, perm = key.sort(stable=True)
    colptr = torch.searchsorted(key, torch.arange(num_dst + 1) * num_src)
    row = src.to(torch.int32 if num_src < 2**31 else torch.int64)
    return colptr, row if perm is None else row[perm], perm
