"""The model for splits by time: a user is what it did last, and in which order."""

import math
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data import HeteroData
from torch_geometric.data.storage import EdgeStorage
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.sequences import Sequences, sequences
from lightning_lp.model.encoders.base import NOTHING, Sizes, check_option
from lightning_lp.model.encoders.causal import CausalAttention, rating_buckets
from lightning_lp.model.encoders.closed_form import ClosedForm, Widths
from lightning_lp.model.encoders.mix import Judged, choose_weights
from lightning_lp.model.encoders.movie_table import MovieTableEncoder, with_prior
from lightning_lp.model.encoders.popularity import popularity_now
from lightning_lp.model.encoders.readers import SequenceReader
from lightning_lp.model.encoders.spectral import feature_rows
from lightning_lp.model.encoders.windows import windows
from lightning_lp.model.scores import log_normalizer

_ROWS = 16
"""Windows that are read at once: what lies between the layers stays in a processor's cache."""
_GPU_ROWS = 512
"""The same on an accelerator."""
_POPULARITY: MutableMapping[Tensor, tuple[tuple[int, ...], Tensor]] = WeakTensorKeyDictionary()
"""Of the messages with these times."""
_LEARNED = 0.5, 0.35, 0.7, 0.25, 1.0, 0.15, 1.4
"""What learned scores may count beside the closed form, the likeliest first."""
_POPULAR = 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0
"""What popularity may count for users of whom something is known."""
_LAST_CHANNELS = 3
"""Of the vectors: a movie's bias, its popularity, and the user's part of the score."""


@dataclass(frozen=True)
class Histories:
    """What is read of the links of users.

    Attributes:
        links: the movies of each user in order.
        rating: [num_links] float32, in that order. None: unknown.
    """

    links: Sequences
    rating: Tensor | None

    @classmethod
    def of(cls, links: Sequences, store: EdgeStorage) -> "Histories":
        """The links of ``store`` in order, with their ratings, where it has them."""
        return cls(links, store.rating[links.edge] if "rating" in store else None)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Histories":
        """Copies of an encoder, such as stochastic weight averaging makes, share them."""
        return self


class SequenceEncoder(MovieTableEncoder):
    """A causal transformer that reads a user's movies in their order, beside transitions in closed form.

    A movie's vector is its embedding plus linear maps of its genres and of the terms of its title, and serves histories
    and candidates alike. A user's vector is what :class:`CausalAttention` says after the last of its movies, by their
    order, the time between them and their ratings. It is read from windows at fixed places (:func:`windows`): of the
    last ``length`` movies or less, and the ``length`` before those.
    To the product of the two are added, as further channels, so that it stays a dot product:

    - what :class:`ClosedForm` says of the same history: which movie follows which, and which go together, with weights
      that it chooses itself. The losses do not see it: on the links that it was made from it leaves nothing to learn;
    - how popular a movie is now, within a window that fits the data: for users of whom nothing is known that is all;
    - a normaliser, so that the score is the logit of a link: log p(m | u) plus a learned constant.

    What is learned and what is popular count beside the closed form what ranks the validation links best.

    It is causal: a link is learned from what its user did strictly earlier. That is looked up in all training links,
    which :meth:`prepare` keeps: one window serves all links of its user that are in a batch.

    Args:
        hidden_channels: width of embeddings.
        num_heads: heads of attention; they divide ``hidden_channels``.
        num_layers: layers of attention.
        length: how many movies back a movie is seen in each layer.
        dropout: share of inputs and activations that is left out in training.
        transition_channels: width of the transitions; 0: none.
        spectral_channels: width of the linear similarities; 0: none.
    """

    edge_types = (REV_RATES,)
    edge_attrs = ("time",)
    optional_edge_attrs = ("rating",)
    needs_graph = True
    needs_history = False
    temporal_strategy = "last"
    batches_per_user = 1
    trains_on_messages = False
    num_bias_channels = _LAST_CHANNELS

    weight: Tensor
    popularity: Tensor
    mean: Tensor
    deviation: Tensor
    _known: Histories | None = None
    """All training links."""

    def __init__(
        self,
        hidden_channels: int = 64,
        num_heads: int = 2,
        num_layers: int = 2,
        length: int = 100,
        dropout: float = 0.2,
        transition_channels: int = 1024,
        spectral_channels: int = 512,
    ) -> None:
        super().__init__()
        check_option(1 <= hidden_channels < 2**20, "hidden_channels", hidden_channels, "1 to a million")
        check_option(1 <= num_heads <= 64, "num_heads", num_heads, "1 to 64")
        check_option(hidden_channels % num_heads == 0, "num_heads", num_heads, f"a divisor of {hidden_channels}")
        check_option(1 <= num_layers <= 16, "num_layers", num_layers, "1 to 16")
        check_option(1 <= length <= 4096, "length", length, "1 to 4096")
        check_option(0 <= dropout < 1, "dropout", dropout, "0 or more, and less than 1,")
        check_option(0 <= transition_channels < 2**20, "transition_channels", transition_channels, "0 to a million")
        check_option(0 <= spectral_channels < 2**20, "spectral_channels", spectral_channels, "0 to a million")
        self.hidden_channels, self.num_heads, self.num_layers = hidden_channels, num_heads, num_layers
        self.length, self.dropout = length, dropout
        self.transition_channels, self.spectral_channels = transition_channels, spectral_channels

    @property
    def num_neighbors(self) -> dict[EdgeType, list[int]]:
        """All movies of a user, and nothing of a movie."""
        return {RATES: [0], REV_RATES: [-1]}

    def build(self, sizes: Sizes) -> None:
        """Makes the table of movies, what reads histories, and room for the closed form."""
        num_movies, hidden_channels = sizes.num_movies, self.hidden_channels
        self.build_table(sizes, hidden_channels)
        shape = hidden_channels, self.num_heads, self.num_layers, self.length
        self.attention = CausalAttention(*shape, self.dropout)
        self.closed_form = ClosedForm(num_movies, Widths(self.transition_channels, self.spectral_channels))
        self.constant = nn.Parameter(torch.zeros(()))
        self.register_buffer("weight", torch.tensor([_LEARNED[0], _POPULAR[0]]))
        self.register_buffer("popularity", torch.zeros(num_movies))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.init_table()

    def prepare(self, graph: HeteroData, neg_sampling_ratio: float) -> None:
        """Takes over features and links, and fits what is in closed form."""
        movies, links = graph[MOVIE], graph[RATES]
        num_movies, channels = self.movie_emb.weight.shape
        self.take_features(movies)
        history = sequences(links.edge_index, links.time, graph[USER].num_nodes)
        self.closed_form.prepare(history, feature_rows(movies.x, movies.terms, self.num_terms))
        self.popularity.copy_(popularity_now(history, num_movies))
        if "rating" in links:
            self.mean.copy_(links.rating.mean())
            self.deviation.copy_(links.rating.std(correction=0).clamp(min=1e-3))
        self._known = Histories.of(history, links)
        start = self.closed_form.spectral_source[:, :channels]
        if start.size(1) == channels:
            self.movie_emb.weight.data.copy_(start * start.square().sum(dim=1).mean().clamp(min=1e-12).rsqrt())
        self.constant.data.fill_(math.log(num_movies / neg_sampling_ratio))

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes: [num_nodes, hidden_channels + transition_channels + spectral_channels + 3]."""
        movie, table, history = batch[MOVIE].node_id, self._catalogue(), self._history(batch)
        known, is_known = history.links, (history.links.length > 0)[:, None]
        learned, popular = self.weight
        parts = [self._users(history) * learned, self.closed_form.users(known)]
        parts += [is_known * learned, torch.where(is_known, popular, 1.0)]
        z_user = torch.cat(parts, dim=1)
        normalizer = log_normalizer(z_user, table, known.source, known.node)
        # The same for all users of whom nothing is known, to the last bit: where scores tie, they do for any batch.
        normalizer = torch.where(known.length > 0, normalizer, self.popularity.logsumexp(dim=0))
        return with_prior(z_user, self.constant - normalizer, table.index_select(0, movie))

    def embed_for_training(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """What is learned, [num_nodes, hidden_channels + 2]: without the closed form, and not normalised.

        Each user of a batch is as it was before its link, by all training links. Batches without times, and those of
        an encoder that was not prepared, are read by their messages.
        """
        time = batch[RATES].get("edge_label_time")
        if self._known is None or time is None:
            z_user = self._users(self._history(batch))
        else:
            user, links = batch[USER].node_id.cpu(), self._known.links
            until = torch.full_like(user, torch.iinfo(user.dtype).min)
            until[batch[RATES].edge_label_index[0].cpu()] = time.cpu()
            z_user = self._read(self._known, links.indptr[user], links.end_before(user, until))
        z_user, table = torch.cat([z_user, z_user.new_ones(len(z_user), 1)], dim=1), self.catalogue()
        prior = self.constant.expand(len(z_user))
        return with_prior(z_user, prior, table.index_select(0, batch[MOVIE].node_id))

    def embed_new(
        self, graph: HeteroData, edge_index: Tensor, num_users: int, edge_attrs: Mapping[str, Tensor] = NOTHING
    ) -> Tensor:
        """Embeds users that the graph lacks: their movies are all that counts, in order of time or else as given."""
        new = HeteroData()
        new[USER].node_id = torch.full((num_users,), -1)
        new[MOVIE].node_id = torch.arange(len(self.x))
        new[REV_RATES].edge_index = edge_index
        new[REV_RATES].time = torch.arange(edge_index.size(1))
        for name, value in edge_attrs.items():
            new[REV_RATES][name] = value
        with self._popular_in(graph):
            return super().embed_all(new)[0]

    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Embeds every user and every movie; what is popular now is so by the messages of this graph."""
        with self._popular_in(graph):
            return super().embed_all(graph)

    def reader(self, graph: HeteroData) -> SequenceReader:
        """A history in dense operations; what is popular is so by the messages of this graph."""
        return SequenceReader(self, self.embed_all(graph)[1])

    @contextmanager
    def _popular_in(self, graph: HeteroData) -> Iterator[None]:
        trained = self.popularity.clone()
        if graph[REV_RATES].edge_index.numel():
            self.popularity.copy_(_popularity_of(graph, len(trained)))
        try:
            yield
        finally:
            self.popularity.copy_(trained)

    @torch.no_grad()
    def choose_on_validation(self, graph: HeteroData, edge_label_index: Tensor, edge_label: Tensor) -> None:
        """Chooses what learned scores and popularity count, by links of users of whom something is known."""
        is_known = torch.bincount(graph[RATES].edge_index[0], minlength=graph[USER].num_nodes) > 0
        is_judged = (edge_label > 0) & is_known[edge_label_index[0]]
        if not is_judged.any():
            return
        was_training, device = self.training, self.x.device
        self.eval()
        judged = Judged.of(graph, edge_label_index[:, is_judged])
        history = self._history(self._whole(judged.graph))
        row, target, known = judged.row.to(device), judged.movie.to(device), history.links
        learned = self._users(history) @ self.table().T + self.movie_bias
        scores = self.closed_form.users(known) @ self.closed_form.movies().T
        scores[known.source, known.node] = -torch.inf
        choice = choose_weights(scores, [learned, self.popularity], [_LEARNED, _POPULAR], row, target)
        self.weight.copy_(self.weight.new_tensor(choice))
        self.train(was_training)

    def calibration(self) -> list[nn.Parameter]:
        """The constant."""
        return [self.constant]

    def _catalogue(self) -> Tensor:
        """[num_movies, channels] vectors of all movies, without the user's channel."""
        parts = [self.table(), self.closed_form.movies(), self.movie_bias[:, None], self.popularity[:, None]]
        return torch.cat(parts, dim=1)

    def _history(self, batch: HeteroData) -> Histories:
        """The messages of each user in order of time."""
        (movie, user), store = self.messages(batch, REV_RATES), batch[REV_RATES]
        links = torch.stack([user, batch[MOVIE].node_id[movie]])
        return Histories.of(sequences(links, store.time, batch[USER].node_id.numel()), store)

    def _users(self, history: Histories) -> Tensor:
        """[num_users, hidden_channels] what is learned of users by all their links."""
        indptr = history.links.indptr
        return self._read(history, indptr[:-1], indptr[1:])

    def _read(self, history: Histories, first: Tensor, end: Tensor) -> Tensor:
        """[num, hidden_channels] what comes next in histories of links ``first`` to before ``end``; 0 after nothing."""
        table = self.table()
        device = table.device
        parts, where = windows(first, end, self.length, _ROWS if device.type == "cpu" else _GPU_ROWS)
        read = [table.new_zeros(1, table.size(1))]
        for place, last in parts:
            links, rating, time = history.links, history.rating, history.links.time
            movie, bucket = links.node[place].to(device), torch.zeros_like(place, device=device)
            if rating is not None:
                bucket = rating_buckets(rating[place].to(device), self.mean, self.deviation)
            after = self.attention(F.embedding(movie, table), bucket, None if time is None else time[place].to(device))
            read.append(after.flatten(0, 1).index_select(0, last.to(device)))
        if not parts:  # every parameter has a gradient in every batch: other processes wait for it
            nothing = torch.zeros(1, 1, dtype=torch.int64, device=device)
            read.append(self.attention(F.embedding(nothing, table), nothing, nothing).flatten(0, 1))
        return torch.cat(read).index_select(0, where.to(device) + 1)


def _popularity_of(graph: HeteroData, num_movies: int) -> Tensor:
    """By the messages of a graph, and once for the same: rolling history asks for it again and again."""
    edges, time = graph[REV_RATES].edge_index, graph[REV_RATES].time
    what, known = (edges.data_ptr(), edges._version, time._version), _POPULARITY.get(time)
    if known is None or known[0] != what:
        history = sequences(edges.flip(0), time, int(edges[1].max()) + 1)
        known = _POPULARITY[time] = what, popularity_now(history, num_movies)
    return known[1]
