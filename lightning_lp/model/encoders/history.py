"""The default model: a user is the movies it has rated."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.data.schema import MOVIE, REV_RATES, USER
from lightning_lp.graph.messages import adjacency, pairs
from lightning_lp.model.encoders.spectral import feature_rows, scored, spectral_embeddings
from lightning_lp.model.scores import MAX_SCORES


class HistoryEncoder(nn.Module):
    """GraphSAGE from movies to users, over one table of movies that serves histories and candidates alike.

    A movie's vector is its embedding plus linear maps of its genres and of the terms of its title. A user has no
    embedding (on data of this size it over-fits); its vector is a GraphSAGE convolution of its movies, whose sum is
    divided by the square root of their number, between GraphSAGE's sum and mean. Two things are added to the product
    of the two vectors, as further channels, so that it stays a dot product:

    - in evaluation, ``spectral_weight`` times the linear similarities of
      :mod:`lightning_lp.model.encoders.spectral`. They are in closed form what the links say, so that in training, on
      those same links, they would leave nothing to learn;
    - what makes a score the logit of a link: with p(m | u) = softmax over the movies that u has not rated, at
      ``temperature``, it is log p(m | u) + log(u's number of ratings) + a learned constant. The odds of a pair drawn
      by chance are proportional to the rate of that link, which is p(m | u) times u's activity.

    Args:
        num_movies: number of movie nodes.
        num_features: number of genres.
        num_terms: number of terms of titles.
        max_terms: the most terms of one title.
        hidden_channels: width of embeddings and layer.
        spectral_channels: width of the linear part; 0: none.
        spectral_weight: weight of the linear part.
        spectral_l2: its penalty.
        temperature: what scores are divided by in evaluation.
        dropout: share of the channels of a history that are dropped in training.
    """

    edge_types = (REV_RATES,)
    """Where messages are read from."""

    num_offsets = 2
    """The last channels of a movie's vector, which do not say what it is like: its bias, and 1 for the user's."""

    x: Tensor
    terms: Tensor
    spectral_source: Tensor

    def __init__(
        self,
        num_movies: int,
        num_features: int,
        num_terms: int,
        max_terms: int,
        hidden_channels: int = 96,
        spectral_channels: int = 768,
        spectral_weight: float = 10.0,
        spectral_l2: float = 150.0,
        temperature: float = 1.5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_terms, self.spectral_l2 = num_terms, spectral_l2
        self.spectral_weight, self.temperature, self.dropout = spectral_weight, temperature, dropout
        self.movie_emb = nn.Embedding(num_movies, hidden_channels)
        self.movie_lin = nn.Linear(num_features, hidden_channels, bias=False) if num_features else None
        self.term_emb = nn.EmbeddingBag(num_terms + 1, hidden_channels, mode="sum", padding_idx=0)
        channels = (hidden_channels, hidden_channels)
        self.conv = SAGEConv(channels, hidden_channels)
        self.user_lin = nn.Linear(hidden_channels, hidden_channels, bias=False)
        self.movie_bias = nn.Parameter(torch.zeros(num_movies))
        self.activity, self.constant = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
        self.register_buffer("x", torch.zeros(num_movies, num_features))
        self.register_buffer("terms", torch.zeros(num_movies, max_terms, dtype=torch.int64))
        self.register_buffer("spectral_source", torch.zeros(num_movies, spectral_channels))
        nn.init.normal_(self.movie_emb.weight, std=hidden_channels**-0.5)
        for module in (self.movie_lin, self.term_emb, self.user_lin):
            if module is not None:
                nn.init.zeros_(module.weight)

    def start_from(self, x: Tensor, terms: Tensor, links: Tensor, num_users: int, ratio: float) -> None:
        """Takes over what is known before training: features, linear similarities, and a start from their spectrum.

        Args:
            x: [num_movies, num_features] multi-hot genres.
            terms: [num_movies, max_terms] int64 terms of titles, as ``title_terms`` gives them.
            links: [2, num_links] int64 (user, movie) training links.
            num_users: number of users.
            ratio: non-links per link among the pairs whose probability is wanted.
        """
        num_movies, channels = self.movie_emb.weight.shape
        self.x.copy_(x)
        self.terms.copy_(terms)
        width = max(channels, self.spectral_source.size(1))
        pairs = feature_rows(x, terms, self.num_terms)
        source = spectral_embeddings(links, pairs, num_movies, width, self.spectral_l2)
        self.spectral_source.copy_(source[:, : self.spectral_source.size(1)])
        start = source[:, :channels]
        scale = start.square().sum(dim=1).mean().rsqrt()  # mean squared length 1, as of the random start
        self.movie_emb.weight.data.copy_(start * scale)
        # Odds of a link among such pairs: (p(m | u) degree / num_links) / (ratio / (num_users num_movies)).
        self.constant.data.fill_(math.log(num_users * num_movies / links.size(1) / ratio))

    def forward(
        self,
        node_id_dict: dict[NodeType, Tensor],
        x_dict: dict[NodeType, Tensor],
        edge_index_dict: dict[EdgeType, Tensor],
        num_sampled_nodes_dict: dict[NodeType, list[int]] | None = None,
        num_sampled_edges_dict: dict[EdgeType, list[int]] | None = None,
    ) -> dict[NodeType, Tensor]:
        """Embeds nodes: :meth:`HeteroEncoder.forward`, but the features are its own, and it reads one hop.

        Returns:
            [num_nodes, channels] vectors by node type; a dot product is the logit of a link, but for what
            :class:`BatchScores` subtracts in training. ``channels`` are ``hidden_channels`` + 2, in evaluation
            ``spectral_channels`` more.
        """
        movie, num_users = node_id_dict[MOVIE], node_id_dict[USER].numel()
        messages = edge_index_dict[REV_RATES]
        if messages.layout == torch.strided:
            messages = adjacency(messages, num_users, movie.numel())
        catalogue = self.catalogue()
        table = catalogue[:, : self.movie_emb.embedding_dim]
        h = F.dropout(table, self.dropout, self.training).index_select(0, movie)
        count = messages.crow_indices().diff()
        norm = count.clamp(min=1).to(h.dtype).rsqrt()[:, None]
        h_user = _sum(messages, h) * norm
        conv = self.conv((h, h_user), messages.to(h.dtype))
        parts = [h_user + self.user_lin(F.relu(conv))]
        if not self.training:
            linear = _sum(messages, self.spectral_source[movie])
            parts = [parts[0] / self.temperature, linear * (self.spectral_weight / self.temperature)]
        share = 1.0 if self.training else 1 / self.temperature
        z_user = torch.cat([*parts, h_user.new_full((num_users, 1), share)], dim=1)
        prior = self.activity * count.clamp(min=1).log() + self.constant
        if not self.training:
            prior = prior - self._log_normalizer(z_user, catalogue, movie, messages)
        return {
            USER: torch.cat([z_user, prior[:, None]], dim=1),
            MOVIE: F.pad(catalogue.index_select(0, movie), (0, 1), value=1.0),
        }

    def catalogue(self) -> Tensor:
        """[num_movies, channels - 1] vectors of all movies, without the channel of the user's part."""
        table = self.movie_emb.weight + self.term_emb(self.terms)
        if self.movie_lin is not None:
            table = table + self.movie_lin(self.x)
        parts = [table] if self.training else [table, scored(self.spectral_source)]
        return torch.cat([*parts, self.movie_bias[:, None]], dim=1)

    def embed_new_users(self, edge_index: Tensor, num_users: int, movie_inputs: list[Tensor]) -> Tensor:
        """Embeds users that the graph lacks.

        Args:
            edge_index: [2, num_edges] int64 (movie, new user).
            num_users: number of new users.
            movie_inputs: not used: :class:`HeteroEncoder` needs them.

        Returns:
            [num_users, channels].
        """
        nodes = {USER: torch.arange(num_users), MOVIE: torch.arange(len(self.x), device=self.x.device)}
        z_user: Tensor = self(nodes, {}, {REV_RATES: edge_index})[USER]
        return z_user

    def _log_normalizer(self, z_user: Tensor, catalogue: Tensor, movie: Tensor, messages: Tensor) -> Tensor:
        """[num_users] logarithm of the sum over unseen movies of exp(score)."""
        sender, user = pairs(messages)
        seen = movie[sender]
        size = max(1, MAX_SCORES // len(catalogue))
        sums = []
        for start in range(0, len(z_user), size):
            with torch.autocast(z_user.device.type, enabled=False):
                scores = z_user[start : start + size].float() @ catalogue.float().T
            first, last = torch.searchsorted(user, torch.tensor([start, start + size], device=user.device)).tolist()
            scores[user[first:last] - start, seen[first:last]] = -torch.inf
            sums.append(scores.logsumexp(dim=1).clamp(min=-1e4))  # a user may have seen everything
        return torch.cat(sums) if sums else z_user.new_zeros(0)


def _sum(messages: Tensor, h: Tensor) -> Tensor:
    """[num_receivers, channels] sums of messages: they are many, and therefore added in float32 at least."""
    wide = torch.promote_types(h.dtype, torch.float32)
    with torch.autocast(h.device.type, enabled=False):
        summed: Tensor = torch.sparse.mm(messages.to(wide), h.to(wide))
    return summed.to(h.dtype)
