"""The neighbour sampler behind ``LinkNeighborLoader``."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
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

from lightning_lp.graph import kernel, temporal_kernel
from lightning_lp.graph.csc import sorted_edges
from lightning_lp.graph.draws import NEGATIVES, NEIGHBORS, Draws
from lightning_lp.graph.expansion import Scratch, SharedNeighborhood, ascending, expand, homogeneous, positions_of_links
from lightning_lp.graph.links import HOMOGENEOUS, Graph, edge_indices, link_type, skeleton
from lightning_lp.graph.negatives import AnyPairs, SameSource, avoided_pairs, count_negatives
from lightning_lp.graph.temporal import (
    DisjointNeighborhood,
    TemporalStrategy,
    Trees,
    check_strategy,
    check_times,
    hidden_ranges,
    times_of,
)

Int = NDArray[np.int64]
Seeds = list[tuple[NodeType, Int]]


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

    With ``time_attr`` sampling is PyG's temporal, disjoint one: each link has a tree of its own, in which each node is
    once, and ``batch`` tells the tree of each node. In a tree there is **no message at or after the time of its link**
    (PyG lets messages at that time through), in any hop.

    - The time of a message is that of its edge, or where the attribute stands on nodes instead, of the node that it
      comes from. Edge types with neither are timeless: all their messages are sampled from.
    - A link, its reverse and what repeats it at its time or later are no messages of its own tree therefore; an edge of
      the same pair that is earlier is history. In types whose edges have no times of their own ``exclude_seed_links``
      leaves the link out of its own tree.
    - The messages to one node are in ascending order of time, of equal times in that of their sources.
    - A negative has the source, the time and the tree of its link; a source with links to all has none.
    - A tree depends on the seed, the epoch and its own link, whatever else is in the batch.

    Args:
        data: the graph of messages; of its attributes ``time_attr`` alone is looked at.
        num_neighbors: fan-out of each hop, or a dictionary of them by edge type, as PyG's.
        edge_type: type of the links to be scored, None in a ``Data``. Both its ends may be of one node type.
        rev_edge_type: type of their reverse edges; ``edge_type`` itself where links are undirected. Default: none.
        is_undirected: both directions of a link stand in the one edge type; the way to say so of a ``Data``.
        exclude_seed_links: leave the links of a batch out of its messages (of labelled links the positive ones).
        positives: [2, num_links] links that are never drawn as negatives. Default: those of ``data``.
        seed: seed of every draw.
        num_replicas: number of processes that share each batch.
        rank: number of this process, which takes the ``rank``-th part.
        time_attr: attribute of edges or nodes that tells when messages are sent, int64. Default: links have no times.
        temporal_strategy: ``uniform``: any of the neighbours before the time of the link; ``last``: the latest of them,
            of equal times those that stand last.
        same_source: a negative has the source of its link, and is not any pair. With ``time_attr`` it always has.

    Raises:
        UserError: the graph has no such edge type or times.

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
        time_attr: str | None = None,
        temporal_strategy: TemporalStrategy = "uniform",
        same_source: bool = False,
    ) -> None:
        check_strategy(temporal_strategy, time_attr)
        kind = link_type(data, edge_type, rev_edge_type, is_undirected)
        edges = edge_indices(data)
        bare = skeleton(data)  # given edges, PyG would sort each graph anew
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pyg-lib.*")  # this class replaces what it samples with
            super().__init__(bare, num_neighbors, disjoint=bool(time_attr), temporal_strategy=temporal_strategy)
        self.data_type = DataType.from_data(data)
        self._kind, self.edge_type, self.rev_edge_type = kind, kind.edge_type, kind.rev_edge_type
        self.exclude_seed_links, self.time_attr = exclude_seed_links, time_attr
        self.seed, self.num_replicas, self.rank = seed, num_replicas, rank
        self._draws, size = Draws(seed), self.num_nodes
        times = {} if time_attr is None else times_of(data, time_attr, kind)
        self._edges = {key: sorted_edges(e, size[key[0]], size[key[-1]], times.get(key)) for key, e in edges.items()}
        for key, csc in self._edges.items():
            name = self.to_rel_type[key]
            self.colptr_dict[name], self.row_dict[name], self.perm[key] = csc.colptr, csc.row, csc.perm
        avoided = avoided_pairs(edges[kind.edge_type] if positives is None else positives, kind, size)
        drawn_from = SameSource if same_source or time_attr is not None else AnyPairs
        self._negatives = drawn_from(avoided, size[kind.edge_type[0]], size[kind.edge_type[-1]])
        if time_attr is None:
            self._scratch = Scratch(size, self._edges)
        else:
            self.edge_time = {self.to_rel_type[key]: csc.time for key, csc in self._edges.items()}
            self._order = ascending(self._edges)

    @property
    def edge_permutation(self) -> Tensor | dict[EdgeType, Tensor | None] | None:
        """Where sampled edges stand in the graph: by edge type, but in a ``Data``."""
        return self.perm if self.is_hetero else self.perm[HOMOGENEOUS]  # type: ignore[no-any-return]

    def set_epoch(self, epoch: int) -> None:
        """Makes the draws of this epoch from now on, also in workers that are already running."""
        self._draws.set_epoch(epoch)

    def sample_from_edges(
        self, inputs: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> HeteroSamplerOutput | SamplerOutput:
        """Samples the neighbourhood of links, with binary negatives if asked for.

        Args:
            inputs: the links, of type ``edge_type``; ``label`` [num_links] or none; ``time`` [num_links] int64, with
                ``time_attr``.
            neg_sampling: mode ``binary`` with uniform weights, or none.

        Returns:
            PyG's output, with ``metadata`` (input_id, edge_label_index [2, num_labels], edge_label [num_labels],
            edge_label_time [num_labels] or None): the links of this process first, then their negatives with label 0.

        Raises:
            ValueError: another kind of negatives is asked for, none are left, or links have times and there is no
                ``time_attr``, or the other way round.
        """
        check_times(inputs.time, self.time_attr, "edge_label_time")
        size = len(inputs.input_id) // self.num_replicas
        mine = slice(self.rank * size, (self.rank + 1) * size)
        links = np.stack([inputs.row[mine].numpy(), inputs.col[mine].numpy()])
        label = None if inputs.label is None else inputs.label[mine]
        if neg_sampling is None:
            scored, labels, beside = links, label, np.empty(0, np.int64)
        else:
            negatives, beside = self._draw_negatives(inputs.input_id[mine].numpy(), links[0], neg_sampling)
            scored = np.concatenate([links, negatives], axis=1)
            labels = torch.ones(size) if label is None else label
            labels = torch.cat([labels, labels.new_zeros(negatives.shape[1])])
        seeds = list(zip(self.edge_type[::2], scored, strict=True))
        time = None
        if inputs.time is None:
            out, ends = self._sample(inputs.input_id.numpy(), seeds, self._excluded(inputs))
        else:
            before, tree = inputs.time[mine].to(torch.int64), torch.from_numpy(np.append(np.arange(size), beside))
            hidden = hidden_ranges(self._edges, self._kind, links, label) if self.exclude_seed_links else {}
            trees = Trees(before.numpy(), inputs.input_id[mine].numpy(), hidden)
            out, ends = self._sample_trees(trees, seeds, tree.numpy())
            time = before[tree]
        out.metadata = (inputs.input_id[mine], torch.from_numpy(np.stack(ends)), labels, time)
        return out if self.is_hetero else homogeneous(out)

    def sample_from_nodes(self, inputs: NodeSamplerInput) -> HeteroSamplerOutput | SamplerOutput:
        """Samples the neighbourhood of nodes (for ``NeighborLoader``); no links are left out.

        With ``time_attr`` each node has a tree of its own, that depends on the node and its time (``input_time``).

        Raises:
            ValueError: nodes have times and there is no ``time_attr``, or the other way round.
        """
        check_times(inputs.time, self.time_attr, "input_time")
        node = inputs.node.numpy()
        seeds = [(inputs.input_type if self.is_hetero else HOMOGENEOUS[0], node)]
        if inputs.time is None:
            out, _ = self._sample(node, seeds, {})
        else:
            before = inputs.time.to(torch.int64).numpy()
            trees = Trees(before, temporal_kernel.hash_pairs(node, before), {})
            out, _ = self._sample_trees(trees, seeds, np.arange(len(node)))
        out.metadata = (inputs.input_id, inputs.time)
        return out if self.is_hetero else homogeneous(out)

    def _sample(self, what: Int, seeds: Seeds, excluded: dict[EdgeType, Int]) -> tuple[HeteroSamplerOutput, list[Int]]:
        """One neighbourhood of all seeds, drawn for ``what``, and the local indices of each array of seeds."""
        found = SharedNeighborhood(self._edges, self._scratch, excluded)
        ends = [found.add(node_type, node) for node_type, node in seeds]
        key = self._draws.key(NEIGHBORS, kernel.hash_array(what))
        return expand(found, key, self.num_neighbors.get_values(self.edge_types)), ends

    def _sample_trees(self, trees: Trees, seeds: Seeds, tree: Int) -> tuple[HeteroSamplerOutput, list[Int]]:
        """A neighbourhood for each tree, and the local indices of each array of seeds, each seed in its ``tree``."""
        found = DisjointNeighborhood(self._edges, self.num_nodes, self._order, trees, self.temporal_strategy == "last")
        ends = [found.add(node_type, node, tree) for node_type, node in seeds]
        out = expand(found, self._draws.key(NEIGHBORS), self.num_neighbors.get_values(self.edge_types))
        out.batch = found.batch()
        return out, ends

    def _draw_negatives(self, link_id: Int, src: Int, neg_sampling: NegativeSampling) -> tuple[Int, Int]:
        """Negatives, [2, num_negatives], and [num_negatives] the link that each stands beside.

        Where they have the source of their link, a source that has all links has none.
        """
        num_neg = count_negatives(len(link_id), neg_sampling)
        self._draws.warn_of_one_epoch()
        drawn = np.stack(self._negatives.draw(self._draws.key(NEGATIVES), link_id, src, num_neg))
        is_left = drawn[1] >= 0
        return drawn[:, is_left], (np.arange(num_neg) % max(1, len(link_id)))[is_left]

    def _excluded(self, inputs: EdgeSamplerInput) -> dict[EdgeType, Int]:
        """The messages that the links of a batch are left out of."""
        if not self.exclude_seed_links:
            return {}
        is_link = slice(None) if inputs.label is None else inputs.label.numpy() > 0
        return self._positions(inputs.row.numpy()[is_link], inputs.col.numpy()[is_link])

    def _positions(self, src: Int, dst: Int) -> dict[EdgeType, Int]:
        """Where links and their reverses stand among the messages."""
        return positions_of_links(self._edges, self._kind, src, dst)
