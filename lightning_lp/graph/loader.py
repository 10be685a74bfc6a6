"""The loader of mini-batches, which can continue in the middle of an epoch."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader
from torch_geometric.sampler import NegativeSampling
from torch_geometric.typing import EdgeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.order import LinkOrder
from lightning_lp.graph.sampler import LinkNeighborSampler


class LinkLoader(LinkNeighborLoader):  # type: ignore[misc]
    """A ``LinkNeighborLoader`` over a ``LinkOrder`` that knows where it is.

    Lightning saves its state in each checkpoint and hands it back before the first batch. As a batch depends on
    nothing but the seed, the epoch and its number, that place is all it takes to go on with the very next batch.
    Batches that workers have sampled ahead of the model do not count.
    """

    _epoch, _batch = 0, 0
    _start: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[HeteroData]:
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

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the number in it of the batch that was handed out last."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the epoch of that state, if it comes next, begin with that batch."""
        self._start = state_dict["epoch"], state_dict["batch"]


def link_loader(
    graph: HeteroData,
    num_neighbors: dict[EdgeType, list[int]],
    *,
    batch_size: int,
    exclude_seed_links: bool,
    seed: int = 0,
    degree: Tensor | None = None,
    positives: Tensor | None = None,
    neg_sampling: NegativeSampling | None = None,
    num_workers: int = 0,
    num_replicas: int = 1,
    rank: int = 0,
) -> LinkLoader:
    """Makes the loader of one part of the split; with ``neg_sampling`` the one of training.

    Args:
        graph: messages and labels, as ``split_links`` gives them.
        num_neighbors: neighbours sampled per node in each hop, by edge type.
        batch_size: labels per batch and process, without those of ``neg_sampling``.
        exclude_seed_links: leave the links of a batch out of its messages.
        seed: seed of order, negatives and neighbours.
        degree: [num_users] int64 numbers of training links, which batches then hold for their users.
        positives: [2, num_links] links that are never drawn as negatives. Default: the messages.
        neg_sampling: negatives to draw for each batch. Training also has another order in each epoch.
        num_workers: processes that sample.
        num_replicas: processes that train together.
        rank: number of this one.
    """
    messages, is_training = copy(graph), neg_sampling is not None
    # Left on the graph, the loader would select from them for every batch.
    edge_label_index, edge_label, _ = (
        messages[RATES].pop(key, None) for key in ("edge_label_index", "edge_label", "time")
    )
    messages[MOVIE].pop("terms", None)
    if degree is not None:
        messages[USER].degree = degree
    num_shares = num_replicas if is_training else 1
    sampler = LinkNeighborSampler(
        messages,
        num_neighbors,
        edge_type=RATES,
        rev_edge_type=REV_RATES,
        exclude_seed_links=exclude_seed_links,
        positives=positives,
        seed=seed,
        num_replicas=num_shares,
        rank=rank if is_training else 0,
    )
    order = LinkOrder(
        edge_label_index.size(1),
        batch_size,
        shuffle=is_training,
        seed=seed,
        sampler=sampler,
        num_replicas=num_replicas,
        rank=rank,
    )
    loader = LinkLoader(
        messages,
        num_neighbors,
        edge_label_index=(RATES, edge_label_index),
        edge_label=None if is_training else edge_label,  # the sampler labels links and negatives
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
