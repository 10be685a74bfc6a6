"""The model for splits by time: a user is what it did last, and in which order."""

import math
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.sequences import Sequences, sequences
from lightning_lp.model.encoders.base import NOTHING, Sizes, check_option
from lightning_lp.model.encoders.closed_form import ClosedForm, Widths
from lightning_lp.model.encoders.movie_table import MovieTableEncoder, with_prior
from lightning_lp.model.encoders.popularity import popularity_now
from lightning_lp.model.encoders.readout import Readout, recent_links
from lightning_lp.model.encoders.spectral import feature_rows
from lightning_lp.model.scores import log_normalizer

_MAX_USERS = 8192
"""Whose histories are held in memory at once, movie by movie."""
_POPULARITY: MutableMapping[Tensor, tuple[tuple[int, ...], Tensor]] = WeakTensorKeyDictionary()
"""Of the messages with these times."""
_LAST_CHANNELS = 3
"""Of the vectors: a movie's bias, its popularity, and the user's part of the score."""


class SequenceEncoder(MovieTableEncoder):
    """Attention of a user's next movie to its latest ones, beside transitions in closed form.

    A movie's vector is its embedding plus linear maps of its genres and of the terms of its title, and serves histories
    and candidates alike. A user's vector is read out of its ``length`` latest movies by :class:`Readout`: what each
    counts is learned, from its place from the end, its age and its rating, and from what it has to do with the latest.
    To the product of the two are added, as further channels, so that it stays a dot product:

    - what :class:`ClosedForm` says of the same history: which movie follows which, and which go together, with weights
      that it chooses itself. The losses do not see it: on the links that it was made from it leaves nothing to learn;
    - for users of whom nothing is known, how popular a movie is now, within a window that fits the data;
    - a normaliser, so that the score is the logit of a link: log p(m | u) plus a learned constant.

    It is causal: what is read are messages that are earlier than the link.

    Args:
        hidden_channels: width of embeddings.
        num_heads: ways of reading a history.
        num_layers: how often it is read, each time with what was found in view.
        length: how many of the latest movies of a user are read.
        dropout: share of the channels of a history that are dropped in training.
        temperature: what learned scores are divided by.
        transition_channels: width of the transitions; 0: none.
        spectral_channels: width of the linear similarities; 0: none.
    """

    edge_types = (REV_RATES,)
    edge_attrs = ("time",)
    optional_edge_attrs = ("rating",)
    needs_graph = True
    needs_history = False
    temporal_strategy = "last"
    num_bias_channels = _LAST_CHANNELS

    popularity: Tensor
    deviation: Tensor

    def __init__(
        self,
        hidden_channels: int = 64,
        num_heads: int = 4,
        num_layers: int = 2,
        length: int = 50,
        dropout: float = 0.2,
        temperature: float = 3.0,
        transition_channels: int = 1024,
        spectral_channels: int = 512,
    ) -> None:
        super().__init__()
        check_option(1 <= hidden_channels < 2**20, "hidden_channels", hidden_channels, "1 to a million")
        check_option(1 <= num_heads <= 64, "num_heads", num_heads, "1 to 64")
        check_option(1 <= num_layers <= 16, "num_layers", num_layers, "1 to 16")
        check_option(1 <= length <= 4096, "length", length, "1 to 4096")
        check_option(0 <= dropout < 1, "dropout", dropout, "0 or more, and less than 1,")
        check_option(0 < temperature < math.inf, "temperature", temperature, "more than 0")
        check_option(0 <= transition_channels < 2**20, "transition_channels", transition_channels, "0 to a million")
        check_option(0 <= spectral_channels < 2**20, "spectral_channels", spectral_channels, "0 to a million")
        self.hidden_channels, self.num_heads, self.num_layers = hidden_channels, num_heads, num_layers
        self.length, self.dropout, self.temperature = length, dropout, temperature
        self.transition_channels, self.spectral_channels = transition_channels, spectral_channels

    @property
    def num_neighbors(self) -> dict[EdgeType, list[int]]:
        """The latest movies of a user, and nothing of a movie."""
        return {RATES: [0], REV_RATES: [self.length]}

    def build(self, sizes: Sizes) -> None:
        """Makes the table of movies, what reads histories, and room for the closed form."""
        num_movies, hidden_channels = sizes.num_movies, self.hidden_channels
        self.build_table(sizes, hidden_channels)
        self.readout = Readout(hidden_channels, self.num_heads, self.num_layers, self.length)
        self.closed_form = ClosedForm(num_movies, Widths(self.transition_channels, self.spectral_channels), self.length)
        self.constant = nn.Parameter(torch.zeros(()))
        self.register_buffer("popularity", torch.zeros(num_movies))
        self.register_buffer("deviation", torch.ones(()))
        self.init_table()

    def prepare(self, graph: HeteroData, neg_sampling_ratio: float) -> None:
        """Takes over features, and fits what is in closed form."""
        movies, links = graph[MOVIE], graph[RATES]
        num_movies, channels = self.movie_emb.weight.shape
        self.take_features(movies)
        history = sequences(links.edge_index, links.time, graph[USER].num_nodes)
        self.closed_form.prepare(history, feature_rows(movies.x, movies.terms, self.num_terms))
        self.popularity.copy_(popularity_now(history, num_movies))
        if "rating" in links:
            self.deviation.copy_(links.rating.std().clamp(min=1e-3))
        start = self.closed_form.spectral_source[:, :channels]
        if start.size(1) == channels:
            self.movie_emb.weight.data.copy_(start * start.square().sum(dim=1).mean().clamp(min=1e-12).rsqrt())
        self.constant.data.fill_(math.log(num_movies / neg_sampling_ratio))

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes: [num_nodes, hidden_channels + transition_channels + spectral_channels + 3]."""
        movie, table = batch[MOVIE].node_id, self._catalogue()
        history = self._history(batch)
        is_known = (history.length > 0).to(table.dtype)[:, None]
        known_movies = replace(history, node=movie[history.node])
        parts = [self._users(batch, history) / self.temperature, self.closed_form.users(known_movies)]
        parts += [is_known / self.temperature, 1 - is_known]
        z_user = torch.cat(parts, dim=1)
        normalizer = log_normalizer(z_user, table, history.source, known_movies.node)
        # The same for all users of whom nothing is known, to the last bit: where scores tie, they do for any batch.
        normalizer = torch.where(history.length > 0, normalizer, self.popularity.logsumexp(dim=0))
        return with_prior(z_user, self.constant - normalizer, table.index_select(0, movie))

    def embed_for_training(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """What is learned, [num_nodes, hidden_channels + 2]: without the closed form, and not normalised."""
        z_user, table = self._users(batch, self._history(batch)), self.catalogue()
        z_user = torch.cat([z_user, z_user.new_ones(len(z_user), 1)], dim=1)
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

    @contextmanager
    def _popular_in(self, graph: HeteroData) -> Iterator[None]:
        trained = self.popularity.clone()
        if graph[REV_RATES].edge_index.numel():
            self.popularity.copy_(_popularity_of(graph, len(trained)))
        try:
            yield
        finally:
            self.popularity.copy_(trained)

    def calibration(self) -> list[nn.Parameter]:
        """The constant."""
        return [self.constant]

    def _catalogue(self) -> Tensor:
        """[num_movies, channels] vectors of all movies, without the user's channel."""
        parts = [self.table(), self.closed_form.movies(), self.movie_bias[:, None], self.popularity[:, None]]
        return torch.cat(parts, dim=1)

    def _history(self, batch: HeteroData) -> Sequences:
        """The messages of each user in order of time."""
        movie, user = self.messages(batch, REV_RATES)
        return sequences(torch.stack([user, movie]), batch[REV_RATES].time, batch[USER].node_id.numel())

    def _users(self, batch: HeteroData, history: Sequences) -> Tensor:
        """[num_users, hidden_channels] what is learned of users by their latest movies."""
        rating = batch[REV_RATES].rating if "rating" in batch[REV_RATES] else None
        recent = recent_links(history, self.length, rating, float(self.deviation))
        table = F.dropout(self.table(), self.dropout, self.training)
        movie = batch[MOVIE].node_id[self.messages(batch, REV_RATES)[0]]
        if not movie.numel():
            return table.new_zeros(history.num_sources, table.size(1))
        parts = recent.split(_MAX_USERS)
        return torch.cat([self.readout(F.embedding(movie[part.edge], table), part) for part in parts])


def _popularity_of(graph: HeteroData, num_movies: int) -> Tensor:
    """By the messages of a graph, and once for the same: rolling history asks for it again and again."""
    edges, time = graph[REV_RATES].edge_index, graph[REV_RATES].time
    what, known = (edges.data_ptr(), edges._version, time._version), _POPULARITY.get(time)
    if known is None or known[0] != what:
        history = sequences(edges.flip(0), time, int(edges[1].max()) + 1)
        known = _POPULARITY[time] = what, popularity_now(history, num_movies)
    return known[1]
