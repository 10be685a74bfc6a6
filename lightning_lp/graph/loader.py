"""The loader of mini-batches, which can continue in the middle of an epoch."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.loader import LinkNeighborLoader
from torch_geometric.sampler import NegativeSampling
from torch_geometric.typing import EdgeType

from lightning_lp.errors import UserError
from lightning_lp.graph.links import LABELS, Graph, edge_store, keep_edge_attrs, link_type, with_num_nodes
from lightning_lp.graph.order import LinkOrder
from lightning_lp.graph.sampler import LinkNeighborSampler
from lightning_lp.graph.temporal import TemporalStrategy


class LinkLoader(LinkNeighborLoader):  # type: ignore[misc]
    """A ``LinkNeighborLoader`` over a ``LinkOrder`` that knows where it is.

    Lightning saves its state in each checkpoint and hands it back before the first batch. As a batch depends on
    nothing but the seed, the epoch and its number, that place is all it takes to go on with the very next batch.
    Batches that workers have sampled ahead of the model do not count.
    """

    _epoch, _batch = 0, 0
    _start: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Graph]:
        order, start, self._start = self.sampler, self._start, None
        self._batch = 0
        if isinstance(order, LinkOrder):  # Lightning puts another sampler there for --trainer.overfit_batches
            order.advance()
            self._epoch = order.epoch
            if start is not None and start[0] == self._epoch:
                self._batch = start[1]
            order.first_batch = self._batch
        for batch in super().__iter__():
            yield batch
            self._batch += 1

    def _get_iterator(self) -> Iterator[Graph]:
        """Iterates over a copy: an iterator that leads back to its loader is not freed before Python looks for cycles.

        Of those it closes the queues first, and the workers, who are then never told to end, are waited for 5 seconds
        each.
        """
        self.__dict__.pop("collate_fn", None)  # a method of the loader's, kept in it
        iterator: Iterator[Graph] = super(LinkLoader, copy(self))._get_iterator()
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the number in it of the batch that was handed out last."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the epoch of that state, if it comes next, begin with that batch."""
        self._start = state_dict["epoch"], state_dict["batch"]


def link_loader(
    graph: Graph,
    num_neighbors: list[int] | dict[EdgeType, list[int]],
    *,
    edge_type: EdgeType | None = None,
    rev_edge_type: EdgeType | None = None,
    is_undirected: bool = False,
    batch_size: int,
    exclude_seed_links: bool = True,
    edge_attrs: Sequence[str] | None = None,
    positives: Tensor | None = None,
    neg_sampling: NegativeSampling | None = None,
    seed: int = 0,
    num_workers: int = 0,
    num_replicas: int = 1,
    rank: int = 0,
    time_attr: str | None = None,
    temporal_strategy: TemporalStrategy = "uniform",
    group: Tensor | None = None,
    parts_per_group: int = 1,
    same_source: bool = False,
) -> LinkLoader:
    """Makes the loader of one part of the split; with ``neg_sampling`` the one of training.

    A batch holds for each sampled node and edge all attributes that the graph has for it. ``input_id`` tells which
    labels of ``graph`` it scores, for what else is known of them (such as ``edge_label_id``).

    With ``time_attr`` each label has a neighbourhood of its own, of messages earlier than its ``edge_label_time`` (a
    split by time gives it), as :class:`LinkNeighborSampler` describes. Batches hold the ``edge_label_time`` of all that
    they score, and for each node in ``batch`` the number of its neighbourhood. Without ``time_attr`` the graph's
    ``edge_label_time`` is not looked at.

    Args:
        graph: messages and labels, as ``split_links`` gives them.
        num_neighbors: neighbours sampled per node in each hop, or a dictionary of them by edge type.
        edge_type: type of the links; None in a ``Data``.
        rev_edge_type: type of their reverse edges; ``edge_type`` itself where links are undirected. Default: none.
        is_undirected: both directions of a link stand in the one edge type; the way to say so of a ``Data``.
        batch_size: labels per batch and process, without those of ``neg_sampling``.
        exclude_seed_links: leave the links of a batch out of its messages. False only where links carry no messages
            that they are trained on (``disjoint_train_ratio``).
        edge_attrs: names of the edges' attributes that batches hold, of whatever edge type. Default: all.
        positives: [2, num_links] links that are never drawn as negatives. Default: the messages.
        neg_sampling: negatives to draw for each batch. Training also has another order in each epoch.
        seed: seed of order, negatives and neighbours.
        num_workers: processes that sample.
        num_replicas: processes that train together.
        rank: number of this one.
        time_attr: attribute of edges or nodes that tells when messages are sent, int64. Default: links have no times.
        temporal_strategy: ``uniform``: any of the neighbours before the time of the link; ``last``: the latest of them.
        group: [num_labels] int64: labels that stay together in the order of training, as :class:`LinkOrder` describes.
            Default: none do.
        parts_per_group: how many parts each group is divided into, as there.
        same_source: a negative has the source of its link, and is not any pair. With ``time_attr`` it always has.

    Raises:
        UserError: the graph has no such edge type, no attribute of that name or no ``edge_label_time``.

    Examples:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from lightning_lp.graph.loader import link_loader
        >>> graph = Data(num_nodes=5, edge_index=torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]]))
        >>> graph.edge_label_index, graph.edge_label = graph.edge_index[:, :2], torch.ones(2)
        >>> (batch,) = link_loader(graph, [-1], batch_size=2)
        >>> batch.n_id[batch.edge_label_index]  # what is scored: 0 -> 1 and 1 -> 2
        tensor([[0, 1],
                [1, 2]])
        >>> batch.n_id[batch.edge_index]  # the messages, without those: 4 -> 0 and 0 -> 2
        tensor([[4, 0],
                [0, 2]])
        >>> graph.edge_label_index, graph.edge_time = graph.edge_index[:, 4:], torch.arange(6)
        >>> graph.edge_label_time = graph.edge_time[4:]
        >>> (batch,) = link_loader(graph, [-1], batch_size=2, time_attr="edge_time")
        >>> batch.n_id[batch.edge_index]  # what is earlier than 4 -> 0, and what is earlier than 0 -> 2
        tensor([[3, 4, 1],
                [4, 0, 2]])
        >>> batch.edge_time, batch.edge_label_time, batch.batch[batch.edge_index[1]]  # each link has its own messages
        (tensor([3, 4, 1]), tensor([4, 5]), tensor([0, 1, 1]))
    """
    kind = link_type(graph, edge_type, rev_edge_type, is_undirected)
    messages, is_training = with_num_nodes(graph), neg_sampling is not None
    # Left on the graph, the loader would select from them for every batch.
    store = edge_store(messages, kind.edge_type)
    edge_label_index, edge_label, _, edge_label_time = (store.pop(key, None) for key in LABELS)
    if time_attr is None:
        edge_label_time = None
    elif edge_label_time is None:
        raise UserError(
            f"`time_attr` {time_attr}: the labels have no edge_label_time, before which to sample messages: split the "
            "links by time, or leave out `time_attr`"
        )
    num_shares = num_replicas if is_training else 1
    sampler = LinkNeighborSampler(
        messages,
        num_neighbors,
        edge_type=edge_type,
        rev_edge_type=rev_edge_type,
        is_undirected=is_undirected,
        exclude_seed_links=exclude_seed_links,
        positives=positives,
        seed=seed,
        num_replicas=num_shares,
        rank=rank if is_training else 0,
        time_attr=time_attr,
        temporal_strategy=temporal_strategy,
        same_source=same_source,
    )
    keep_edge_attrs(messages, edge_attrs)  # not before: batches need not hold the times
    order = LinkOrder(
        edge_label_index.size(1),
        batch_size,
        shuffle=is_training,
        seed=seed,
        sampler=sampler,
        num_replicas=num_replicas,
        rank=rank,
        group=group,
        parts_per_group=parts_per_group,
    )
    loader = LinkLoader(
        messages,
        num_neighbors,
        edge_label_index=edge_label_index if edge_type is None else (edge_type, edge_label_index),
        edge_label=None if is_training else edge_label,  # the sampler labels links and negatives
        edge_label_time=edge_label_time,
        time_attr=time_attr,
        neg_sampling=neg_sampling,
        neighbor_sampler=sampler,
        sampler=order,
        batch_size=batch_size * num_shares,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else a loader would draw from the global one, which is the model's
    )
    loader.input_data.row, loader.input_data.col = edge_label_index  # of which it has made copies
    return loader
