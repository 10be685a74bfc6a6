"""Divide the links of a graph into training, validation and test, as a pure function.

The sizes, names and conventions are those of PyG's ``RandomLinkSplit``. Unlike it, the result depends on the
links, the settings and the seed alone (``RandomLinkSplit`` draws from the global random state), labels are
in random order (it puts positives first), and negatives are exact: distinct true non-links of the whole graph.
"""

import hashlib
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.typing import EdgeType

from lightning_lp.errors import UserError
from lightning_lp.graph.labels import Labels, NonLinks, NonLinkSettings, are_of_source, held_out_labels
from lightning_lp.graph.links import Graph, LinkType, columns, edge_store, link_type, with_num_nodes
from lightning_lp.graph.members import Members, find_members, messages_of
from lightning_lp.graph.strategies import (
    TEST,
    TRAIN,
    VAL,
    Assignment,
    Strategy,
    Undivided,
    is_by_time,
    partition,
    partition_on,
    permutation,
)

Int = NDArray[np.int64]


@dataclass(frozen=True)
class LinkSplit:
    """Three graphs over the same nodes, each with its message edges and the links to score.

    ``graph[edge_type].edge_index`` holds the messages (and ``graph[rev_edge_type]`` their reverse), with all attributes
    that the whole graph has for them, and the same store

    - ``edge_label_index`` [2, num_labels] int64: the links to score;
    - ``edge_label`` [num_labels] float32: 1 for a link and 0 for a non-link;
    - ``edge_label_id`` [num_labels] int32 (int64 beyond 2^31 edges): the place of a link's edge in the whole graph, so
      that ``data[edge_type].rating[edge_label_id]`` is the rating of what is scored; -1 for a non-link;
    - ``edge_label_time`` [num_labels], where the split is by time: the time of a link; of a non-link that of the link
      which it stands beside.

    Training holds links alone: its negatives are drawn anew for each batch, by the sampler. Graphs share what is the
    same in them. Nodes and other edge types are those of the whole graph. Of a ``Data`` all this stands on the graph.

    Attributes:
        train: messages and supervision links of training.
        val: messages are all training links; labels are held-out links and non-links, none where ``num_val`` is 0.
        test: messages are all training and validation links; no labels where ``num_test`` is 0.
        train_links: [2, num_train] every training link, as message or as supervision.
        fingerprint: hash of all of the above but attributes; equal fingerprints mean equal splits.
        edge_type: the type of the links; None in a ``Data``.
        num_kept: links that would be held out, had an earlier training not seen them, or later ones; they are training
            links.
    """

    train: Graph
    val: Graph
    test: Graph
    train_links: Tensor
    fingerprint: str
    edge_type: EdgeType | None = None
    num_kept: int = 0

    @property
    def held_out(self) -> dict[str, Graph]:
        """The parts that hold labels: ``val`` and ``test``, or one of them, or none."""
        parts = {"val": self.val, "test": self.test}
        return {name: graph for name, graph in parts.items() if edge_store(graph, self.edge_type).edge_label.numel()}

    def part(self, name: str) -> Graph:
        """A held-out part, ``val`` or ``test``.

        Raises:
            UserError: there is none.
        """
        if name not in self.held_out:
            raise UserError(
                f"`num_{name}` 0 has held no links out to judge on: give a share, such as 0.1 (and with `strategy` "
                "given links of that part)"
            )
        return self.held_out[name]


def split_links(
    data: Graph,
    edge_type: EdgeType | None = None,
    rev_edge_type: EdgeType | None = None,
    *,
    is_undirected: bool = False,
    strategy: Strategy = "random",
    num_val: float = 0.1,
    num_test: float = 0.1,
    disjoint_train_ratio: float = 0.3,
    neg_sampling_ratio: float = 2.0,
    time_attr: str = "time",
    seed: int = 0,
    non_links: NonLinks = "auto",
    part: Tensor | None = None,
    before: Tensor | None = None,
) -> LinkSplit:
    """Splits the links of one type.

    A link is a pair of nodes. Edges of the same pair, and in an undirected graph those of both directions, are one
    link: they are held out together, one label stands for them (in a random direction, where there are two), and its
    time is the latest of theirs. Reverse edges go where their link goes, whatever their order.

    Args:
        data: the whole graph, on the CPU.
        edge_type: type of the links; None for the one edge type of a ``Data``.
        rev_edge_type: type of their reverse edges; ``edge_type`` itself where links are undirected. Default: none.
        is_undirected: both directions of a link stand in the one edge type, as in PyG's ``RandomLinkSplit``.
        strategy: ``random``: uniformly over all links. ``temporal``: the latest links of all are the test
            links, those before them the validation links. ``leave_last_out``: the last link of each source is a
            test link, the one before it a validation link; sources with fewer than three stay in training.
            ``given``: as ``part`` says. All but ``random`` are by time, ``given`` where the links have times.
        num_val: share of the links held out for validation; 0: there is no such part. To ``leave_last_out`` any other
            share means one link of each source, to ``given`` all links of that part.
        num_test: the same for test.
        disjoint_train_ratio: share of the training links that are scored and carry no messages. At 0 every
            training link does both, and the sampler has to leave a batch's own links out of its messages.
        neg_sampling_ratio: non-links per link among the validation and test labels. No node is paired with itself.
        time_attr: the attribute of the edges that is read by the strategies that need times.
        seed: seed of the draw.
        non_links: ``any``: non-links are drawn uniformly from all. ``of_source``: each stands beside a held-out link,
            with its source and time, so that scores must tell which destination and not which source; it is one that
            exists by then in a split by time (see :func:`sample_non_links_of_source`). ``auto``: ``of_source`` in
            splits by time, ``any`` in others.
        part: [num_edges] for each edge 0 (training), 1 (validation) or 2 (test), for the strategy ``given``. A link
            whose edges differ is of the first part among theirs.
        before: [num_edges] the part of each edge in an earlier split of a smaller graph, and 3 for an edge that it did
            not have. What was trained on then is not held out now: at random all links stay where they were and the new
            ones are divided, by other strategies all are divided anew and those that were trained on go to training,
            by time with those that are earlier than such a one.

    Raises:
        UserError: the graph is too small or too dense for these settings, or has no such edges or no times.
        ValueError: ``part`` or ``before`` is not as told, or ``part`` is missing or not asked for.

    Examples:
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> from lightning_lp.graph.split import split_links
        >>> data, follows = HeteroData(), ("person", "follows", "person")
        >>> data["person"].num_nodes = 6
        >>> data[follows].edge_index = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1, 2, 3], [1, 2, 3, 4, 5, 0, 2, 3, 4, 5]])
        >>> split = split_links(data, follows, num_val=0.2, num_test=0.2, disjoint_train_ratio=0.0)
        >>> [graph[follows].num_edges for graph in (split.train, split.val, split.test)]
        [6, 6, 8]
        >>> sorted(split.test[follows].edge_label.tolist())  # two links, and twice as many non-links
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """
    kind, rng = link_type(data, edge_type, rev_edge_type, is_undirected), np.random.default_rng(seed)
    data = with_num_nodes(data)
    members = find_members(data, kind, time_attr, rng)
    given = None if part is None else _part_of_links(data, kind, members, part)
    links, num_kept = Undivided(members.links, members.time, time_attr, kind.is_undirected, given), 0
    if before is None:
        divided = partition(links, strategy, num_val, num_test, rng)
    else:
        known = _part_of_links(data, kind, members, before, name="before", num_parts=4)
        own = np.random.default_rng([seed, 1])  # so that labels do not depend on how many links are new
        divided, num_kept = partition_on(links, known, strategy, num_val, num_test, own)
    by_time = is_by_time(strategy, members.time is not None)

    history, is_train = messages_of(data, kind, members, divided == TRAIN), divided == TRAIN
    train, supervision = _train_graph(data, kind, members, is_train, history, disjoint_train_ratio, by_time, rng)
    held_out = [np.flatnonzero(divided == name) for name in (VAL, TEST)]
    wanted = NonLinkSettings(neg_sampling_ratio, are_of_source(non_links, by_time), by_time)
    val, test = held_out_labels(data, kind, members, held_out, wanted, rng)
    graphs = (
        _with_labels(train, edge_type, supervision),
        _with_labels(history, edge_type, val),
        _with_labels(messages_of(data, kind, members, divided != TEST), edge_type, test),
    )
    train_links = _links_of(members, history, kind, np.flatnonzero(is_train))
    return LinkSplit(*graphs, train_links, _fingerprint(graphs, edge_type), edge_type, num_kept)


def _train_graph(
    data: Graph,
    kind: LinkType,
    members: Members,
    is_train: NDArray[np.bool_],
    history: Graph,
    disjoint_train_ratio: float,
    by_time: bool,
    rng: np.random.Generator,
) -> tuple[Graph, Labels]:
    """The messages of training, and the links to score: both are all training links, unless they are to be disjoint."""
    train = np.flatnonzero(is_train)
    num_supervision = int(disjoint_train_ratio * len(train))
    if disjoint_train_ratio > 0 and not 0 < num_supervision < len(train):
        raise UserError(
            f"`disjoint_train_ratio` {disjoint_train_ratio} of {len(train)} training links leaves none "
            f"{'to score' if num_supervision == 0 else 'to carry messages'}: give another ratio, or more data"
        )
    # Drawn in any case: the ratio does not change what is drawn after it.
    supervision = permutation(len(train), rng)[:num_supervision].astype(np.int64)
    graph = history
    if num_supervision == 0:
        links = _links_of(members, history, kind, train)
    else:
        train = train[supervision]
        is_message = is_train.copy()
        is_message[train] = False
        graph, links = messages_of(data, kind, members, is_message), columns(members.links, train)
    label = torch.ones(1).expand(len(train))
    labels = {"edge_label_index": links, "edge_label": label, "edge_label_id": members.ids(train)}
    return graph, labels | ({"edge_label_time": members.times(train)} if by_time else {})


def _part_of_links(
    data: Graph, kind: LinkType, members: Members, part: Tensor, name: str = "part", num_parts: int = 3
) -> Assignment:
    num_edges = edge_store(data, kind.edge_type).edge_index.size(1)
    if part.shape != (num_edges,) or not torch.isin(part, torch.arange(num_parts)).all():
        wanted = f"{', '.join(map(str, range(num_parts - 1)))} or {num_parts - 1}"
        raise ValueError(f"`{name}` of shape {tuple(part.shape)}: {wanted} for each of {num_edges} edges wanted")
    return members.least(part.numpy().astype(np.uint8))


def _links_of(members: Members, graph: Graph, kind: LinkType, chosen: Int) -> Tensor:
    """The ``chosen`` links, [2, num_chosen], those of the messages of ``graph``: in the same memory, if possible."""
    if members.link_of is None:
        messages: Tensor = edge_store(graph, kind.edge_type).edge_index
        return messages
    return columns(members.links, chosen)


def _with_labels(graph: Graph, edge_type: EdgeType | None, labels: Labels) -> Graph:
    graph = copy(graph)
    store = edge_store(graph, edge_type)
    for key, value in labels.items():
        store[key] = value
    return graph


def _fingerprint(graphs: tuple[Graph, ...], edge_type: EdgeType | None) -> str:
    digest = hashlib.sha256()
    for graph in graphs:
        store = edge_store(graph, edge_type)
        for tensor in (store.edge_index, store.edge_label_index, store.edge_label):
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:16]
