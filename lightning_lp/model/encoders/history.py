"""The default model: a user is the movies it has rated."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv
from torch_geometric.typing import NodeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.messages import adjacency, endpoints
from lightning_lp.model.encoders.base import NOTHING, Sizes, check_option
from lightning_lp.model.encoders.movie_table import MovieTableEncoder, with_prior
from lightning_lp.model.encoders.spectral import feature_rows, scored, spectral_embeddings
from lightning_lp.model.scores import log_normalizer


class HistoryEncoder(MovieTableEncoder):
    """GraphSAGE from movies to users, over one table of movies that serves histories and candidates alike.

    A movie's vector is its embedding plus linear maps of its genres and of the terms of its title. A user has no
    embedding (on data of this size it over-fits); its vector is a GraphSAGE convolution of its movies, whose sum is
    divided by the square root of their number, between GraphSAGE's sum and mean. Two things are added to the product
    of the two vectors, as further channels, so that it stays a dot product:

    - ``spectral_weight`` times the linear similarities of :mod:`lightning_lp.model.encoders.spectral`. They are in
      closed form what the links say: the losses do not see them, for on those same links they would leave nothing to
      learn;
    - what makes a score the logit of a link: with p(m | u) = softmax over the movies that u has not rated, at
      ``temperature``, it is log p(m | u) + log(u's number of ratings) + a learned constant. The odds of a pair drawn
      by chance are proportional to the rate of that link, which is p(m | u) times u's activity.

    Args:
        hidden_channels: width of embeddings and layer.
        spectral_channels: width of the linear part; 0: none.
        spectral_weight: weight of the linear part.
        spectral_l2: penalty of the linear part.
        temperature: what scores are divided by.
        dropout: share of the channels of a history that are dropped in training.
    """

    edge_types = (REV_RATES,)
    needs_graph = True
    reads_matrices = True
    num_bias_channels = 2
    """The last channels of a movie's vector: its bias, and 1 for the user's."""

    spectral_source: Tensor

    def __init__(
        self,
        hidden_channels: int = 96,
        spectral_channels: int = 768,
        spectral_weight: float = 10.0,
        spectral_l2: float = 150.0,
        temperature: float = 1.5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_option(1 <= hidden_channels < 2**20, "hidden_channels", hidden_channels, "1 to a million")
        check_option(0 <= spectral_channels < 2**20, "spectral_channels", spectral_channels, "0 to a million")
        check_option(0 <= spectral_weight < math.inf, "spectral_weight", spectral_weight, "0 or more")
        check_option(0 <= spectral_l2 < math.inf, "spectral_l2", spectral_l2, "0 or more")
        check_option(0 < temperature < math.inf, "temperature", temperature, "more than 0")
        check_option(0 <= dropout < 1, "dropout", dropout, "0 or more, and less than 1,")
        self.hidden_channels, self.spectral_channels = hidden_channels, spectral_channels
        self.spectral_weight, self.spectral_l2 = spectral_weight, spectral_l2
        self.temperature, self.dropout = temperature, dropout

    def build(self, sizes: Sizes) -> None:
        """Makes the table of movies and the convolution."""
        num_movies, hidden_channels = sizes.num_movies, self.hidden_channels
        self.build_table(sizes, hidden_channels)
        channels = (hidden_channels, hidden_channels)
        self.conv = SAGEConv(channels, hidden_channels)
        self.user_lin = nn.Linear(hidden_channels, hidden_channels, bias=False)
        self.activity, self.constant = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
        self.register_buffer("spectral_source", torch.zeros(num_movies, self.spectral_channels))
        self.init_table()
        nn.init.zeros_(self.user_lin.weight)

    def prepare(self, graph: HeteroData, neg_sampling_ratio: float) -> None:
        """Takes over features and linear similarities, and starts the embeddings from the spectrum of the latter."""
        links, movies = graph[RATES].edge_index, graph[MOVIE]
        num_movies, channels = self.movie_emb.weight.shape
        self.take_features(movies)
        width = max(channels, self.spectral_source.size(1))
        features = feature_rows(movies.x, movies.terms, self.num_terms)
        source = spectral_embeddings(links, features, num_movies, width, self.spectral_l2)
        self.spectral_source.copy_(source[:, : self.spectral_source.size(1)])
        start = source[:, :channels]
        scale = start.square().sum(dim=1).mean().rsqrt()  # mean squared length 1, as of the random start
        self.movie_emb.weight.data.copy_(start * scale)
        # Odds of a link among such pairs: (p(m | u) degree / num_links) / (ratio / (num_users num_movies)).
        odds = graph[USER].num_nodes * num_movies / links.size(1) / neg_sampling_ratio
        self.constant.data.fill_(math.log(odds))

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes: [num_nodes, hidden_channels + spectral_channels + 2]."""
        movie, messages, table = batch[MOVIE].node_id, self._matrix(batch), self._catalogue()
        h_user, prior = self._users(table[:, : self.hidden_channels], movie, messages)
        linear = _sum(messages, self.spectral_source[movie])
        share = h_user.new_full((len(h_user), 1), 1 / self.temperature)
        parts = [h_user / self.temperature, linear * (self.spectral_weight / self.temperature), share]
        z_user = torch.cat(parts, dim=1)
        sender, user = endpoints(messages)
        prior = prior - log_normalizer(z_user, table, user, movie[sender])
        return with_prior(z_user, prior, table.index_select(0, movie))

    def embed_for_training(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """What is learned, [num_nodes, hidden_channels + 2]: without the linear part, and not normalised.

        The losses compute the scores of all movies anyway, and from them what :meth:`forward` subtracts.
        """
        movie, table = batch[MOVIE].node_id, self.catalogue()
        h_user, prior = self._users(table[:, : self.hidden_channels], movie, self._matrix(batch))
        z_user = torch.cat([h_user, h_user.new_ones(len(h_user), 1)], dim=1)
        return with_prior(z_user, prior, table.index_select(0, movie))

    def calibration(self) -> list[nn.Parameter]:
        """How much a user's number of ratings counts, and the constant."""
        return [self.activity, self.constant]

    def embed_new(
        self, graph: HeteroData, edge_index: Tensor, num_users: int, edge_attrs: Mapping[str, Tensor] = NOTHING
    ) -> Tensor:
        """Embeds users that the graph lacks: their movies are all that counts."""
        new = HeteroData()
        new[USER].node_id = torch.full((num_users,), -1)
        rated, movie = torch.unique(edge_index[0], return_inverse=True)
        new[MOVIE].node_id = rated  # the vectors of others are not asked for
        new[REV_RATES].edge_index = torch.stack([movie, edge_index[1]])
        return self.embed_all(new)[0]

    @torch.no_grad()
    def user_parts(self, movie: Tensor) -> Tensor:
        """Sums are what they are; of the layer, each movie has its part in the units that are above 0.

        These units are linear in the movies, so that the parts add up to what the layer says, but for its constant.
        """
        h, share = self.table()[movie].double(), 1 / max(1, len(movie))
        mean, root, out = (lin.weight.double().T for lin in (self.conv.lin_l, self.conv.lin_r, self.user_lin))
        own = h * math.sqrt(share)
        conv = h * share @ mean + own @ root
        is_above = conv.sum(dim=0) + self.conv.lin_l.bias.double() > 0
        linear = self.spectral_source[movie].double() * self.spectral_weight
        parts = torch.cat([own + conv * is_above @ out, linear], dim=1) / self.temperature
        return F.pad(parts, (0, self.num_bias_channels))

    def _catalogue(self) -> Tensor:
        """[num_movies, hidden_channels + spectral_channels + 1] vectors of all movies, without the user's channel."""
        return torch.cat([self.table(), scored(self.spectral_source), self.movie_bias[:, None]], dim=1)

    def _matrix(self, batch: HeteroData) -> Tensor:
        messages = self.messages(batch, REV_RATES)
        if messages.layout == torch.strided:
            messages = adjacency(messages, batch[USER].node_id.numel(), batch[MOVIE].node_id.numel())
        return messages

    def _users(self, table: Tensor, movie: Tensor, messages: Tensor) -> tuple[Tensor, Tensor]:
        """What users are by their movies, [num_users, hidden_channels], and [num_users] log-odds of any link."""
        h = F.dropout(table, self.dropout, self.training).index_select(0, movie)
        count = messages.crow_indices().diff()
        norm = count.clamp(min=1).to(h.dtype).rsqrt()[:, None]
        h_user = _sum(messages, h) * norm
        conv = self.conv((h, h_user), messages.to(h.dtype))
        prior = self.activity * count.clamp(min=1).log() + self.constant
        return h_user + self.user_lin(F.relu(conv)), prior


def _sum(messages: Tensor, h: Tensor) -> Tensor:
    """[num_receivers, channels] sums of messages: they are many, and therefore added in float32 at least."""
    wide = torch.promote_types(h.dtype, torch.float32)
    with torch.autocast(h.device.type, enabled=False):
        summed: Tensor = torch.sparse.mm(messages.to(wide), h.to(wide))
    return summed.to(h.dtype)
