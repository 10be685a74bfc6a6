"""Users as they were when they were asked: rolling history for any model that embeds new users."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import RATES, USER
from lightning_lp.graph.sequences import Sequences, ranges, sequences

_MAX_QUERIES = 256
"""Embedded at once."""


@runtime_checkable
class EmbedsNew(Protocol):
    """A module that embeds users from their links alone, known or not: :class:`LinkPredictionModule`, or your own."""

    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Takes nodes and messages, returns [num_users, channels] and [num_movies, channels]: a product is a score."""

    def embed_new(
        self, graph: HeteroData, edge_index: Tensor, num_users: int, edge_attrs: Mapping[str, Tensor]
    ) -> Tensor:
        """As :meth:`Encoder.embed_new`: [num_users, channels] of users whose links are ``edge_index`` (movie, user)."""


@dataclass(frozen=True)
class RollingHistory:
    """All links of a part of a split by time, of which a query knows those of its user that are strictly earlier.

    Attributes:
        links: messages and held-out links of each user, in order of time.
        edge_attrs: [num_links] each, ``time`` and, where it is known of all, ``rating``, in the order of ``links``.
    """

    links: Sequences
    edge_attrs: Mapping[str, Tensor]

    @torch.inference_mode(False)  # encoders keep what they have made of an edge_index, and need its version
    def before(self, users: Tensor, time: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What each query knows.

        Args:
            users: [num] int64, who asks.
            time: [num] int64, when.

        Returns:
            [2, num_edges] int64 (movie, query), of each query the earliest first, and the attributes of these edges.
        """
        links = self.links
        place, indptr = ranges(links.indptr[users], links.end_before(users, time))
        query = torch.arange(users.numel()).repeat_interleave(indptr.diff())
        attrs = {name: value[place] for name, value in self.edge_attrs.items()}
        return torch.stack([links.node[place], query]), attrs


def rolling_links(graph: HeteroData) -> tuple[Tensor, Tensor]:
    """The messages of a part and its held-out links.

    Args:
        graph: ``split.val`` or ``split.test`` of a split by time.

    Returns:
        [2, num_links] int64 (user, movie), messages first, and [num_links] int64 times.
    """
    store = graph[RATES]
    is_link = store.edge_label > 0
    links = torch.cat([store.edge_index, store.edge_label_index[:, is_link]], dim=1)
    return links, torch.cat([store.time, store.edge_label_time[is_link]])


_HISTORIES: MutableMapping[HeteroData, tuple[Tensor | None, RollingHistory]] = WeakIdKeyDictionary()
"""Of each part: putting its links in order takes longer than a batch."""


def rolling_history(graph: HeteroData, rating: Tensor | None = None) -> RollingHistory:
    """The links of a part, put in order once for a graph that does not change.

    Args:
        graph: ``split.val`` or ``split.test`` of a split by time.
        rating: [num_edges] float32 ratings of all edges of the whole graph, at the places that ``edge_label_id`` names.
            Default: unknown.
    """
    known = _HISTORIES.get(graph)
    if known is None or known[0] is not rating:
        links, time = rolling_links(graph)
        ordered = sequences(links, time, graph[USER].num_nodes)
        attrs, store = {"time": time[ordered.edge]}, graph[RATES]
        if rating is not None and "rating" in store:
            of_held_out = rating[store.edge_label_id[store.edge_label > 0].long()]
            attrs["rating"] = torch.cat([store.rating, of_held_out])[ordered.edge]
        known = _HISTORIES[graph] = rating, RollingHistory(ordered, attrs)
    return known[1]


def embed_queries(
    module: EmbedsNew, graph: HeteroData, users: Tensor, time: Tensor, rating: Tensor | None = None
) -> Tensor:
    """Embeds the user of each query as a new one, from its links that are strictly earlier.

    No link of that user at or after the time is read, nor any held-out link of another user. What other users' messages
    in the graph do to a movie's vector is the encoder's matter.

    Args:
        module: the model, in evaluation mode.
        graph: ``split.val`` or ``split.test`` of a split by time.
        users: [num] int64, who asks.
        time: [num] int64, when.
        rating: as :func:`rolling_history`.

    Returns:
        [num, channels] float32.
    """
    history, z_users = rolling_history(graph, rating), []
    for start in range(0, max(1, users.numel()), _MAX_QUERIES):
        chunk = users[start : start + _MAX_QUERIES]
        edge_index, attrs = history.before(chunk, time[start : start + _MAX_QUERIES])
        z_users.append(module.embed_new(graph, edge_index, chunk.numel(), attrs))
    return torch.cat(z_users)
