"""The default model: a user is the movies it has rated."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv
from torch_geometric.typing import NodeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.messages import adjacency, endpoints
from lightning_lp.model.encoders.base import NOTHING, Sizes, check_option
from lightning_lp.model.encoders.mix import Judged, best_of, choose_weights, gains, scale_and_level
from lightning_lp.model.encoders.movie_table import MovieTableEncoder, with_prior
from lightning_lp.model.encoders.readers import HistoryReader
from lightning_lp.model.encoders.spectral import (
    feature_rows,
    feature_weight_of,
    linear_scores,
    scored,
    spectral_embeddings,
    with_penalty,
)
from lightning_lp.model.scores import LEAST, log_normalizer

_PENALTIES = 150.0, 300.0, 600.0, 1200.0, 75.0, 2400.0, 4800.0
"""Of the linear part, those that are tried, the likeliest first."""
_WEIGHTS = 20.0, 40.0, 10.0, 80.0, 5.0, 160.0
"""What it may count beside what is learned."""


class HistoryEncoder(MovieTableEncoder):
    """GraphSAGE from movies to users, over one table of movies that serves histories and candidates alike.

    A movie's vector is its embedding plus linear maps of its genres and of the terms of its title. A user has no
    embedding (on data of this size it over-fits); its vector is a GraphSAGE convolution of its movies, whose sum is
    divided by the square root of their number, between GraphSAGE's sum and mean. Two things are added to the product
    of the two vectors, as further channels, so that it stays a dot product:

    - what makes a score the logit of a link: with p(m | u) = softmax over the movies that u has not rated, it is
      log p(m | u) + log(u's number of ratings) + a learned constant. The odds of a pair drawn by chance are
      proportional to the rate of that link, which is p(m | u) times u's activity;
    - a weight times the linear similarities of :mod:`lightning_lp.model.encoders.spectral`. They are in closed form
      what the links say: the losses do not see them, for on those same links they would leave nothing to learn. Nor
      does the softmax: a few large similarities of a user would lower the probability of all other movies.

    Weight and penalty of the similarities are those that rank the validation links best, the penalty after the first
    epoch, the weight after each; the sum is then scaled and shifted so that it tells validation's links and non-links
    best (Platt, "Probabilistic outputs for support vector machines", 1999).

    Args:
        hidden_channels: width of embeddings and layer.
        spectral_channels: width of the linear part; 0: none.
        spectral_weight: weight of the linear part. Default: chosen.
        spectral_l2: penalty of the linear part. Default: chosen.
        temperature: if given, scores with the linear part are divided by it and normalised together, as before 0.3,
            and nothing is chosen.
        dropout: share of the channels of a history that are dropped in training.
        batches_per_user: in how many batches of an epoch a user's links come. What is not in a batch is the history
            that predicts it. 0: each link comes by itself, and nearly all others predict it, as before 0.3.
    """

    edge_types = (REV_RATES,)
    needs_graph = True
    reads_matrices = True
    num_bias_channels = 2
    """The last channels of a movie's vector: its bias, and 1 for the user's."""

    spectral_source: Tensor
    mix: Tensor
    l2: Tensor
    has_penalty: Tensor
    _linear: tuple[tuple[Tensor, Tensor, int], Tensor] | None = None
    """Linear scores of validation's users, and what they were computed of."""

    def __init__(
        self,
        hidden_channels: int = 96,
        spectral_channels: int = 1536,
        spectral_weight: float | None = None,
        spectral_l2: float | None = None,
        temperature: float | None = None,
        dropout: float = 0.0,
        batches_per_user: int = 2,
    ) -> None:
        super().__init__()
        check_option(1 <= hidden_channels < 2**20, "hidden_channels", hidden_channels, "1 to a million")
        check_option(0 <= spectral_channels < 2**20, "spectral_channels", spectral_channels, "0 to a million")
        for name, value in (("spectral_weight", spectral_weight), ("spectral_l2", spectral_l2)):
            check_option(value is None or 0 <= value < math.inf, name, value, "0 or more, or null to have it chosen,")
        is_right = temperature is None or 0 < temperature < math.inf
        check_option(is_right, "temperature", temperature, "more than 0, or null,")
        check_option(0 <= dropout < 1, "dropout", dropout, "0 or more, and less than 1,")
        check_option(
            batches_per_user != 1 and 0 <= batches_per_user <= 64,
            "batches_per_user",
            batches_per_user,
            "0, or 2 to 64,",
        )
        self.batches_per_user = batches_per_user
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
        weight = _WEIGHTS[0] if self.spectral_weight is None else self.spectral_weight
        mix = torch.tensor([weight, 1 / (self.temperature or 1.0), 0.0])
        l2 = _PENALTIES[0] if self.spectral_l2 is None else self.spectral_l2
        self.register_buffer("mix", mix, persistent=self.temperature is None)
        self.register_buffer("l2", torch.tensor(l2), persistent=self.temperature is None)
        self.register_buffer("has_penalty", torch.tensor(False), persistent=self.temperature is None)  # is it chosen?
        self.init_table()
        nn.init.zeros_(self.user_lin.weight)

    def prepare(self, graph: HeteroData, neg_sampling_ratio: float) -> None:
        """Takes over features and linear similarities, and starts the embeddings from the spectrum of the latter."""
        links, movies = graph[RATES].edge_index, graph[MOVIE]
        num_movies, channels = self.movie_emb.weight.shape
        self.take_features(movies)
        if self.spectral_weight is not None:  # an earlier training may have had others
            self.mix[0] = self.spectral_weight
        if self.spectral_l2 is not None:
            self.l2.fill_(self.spectral_l2)
        width = max(channels, self.spectral_source.size(1))
        features = feature_rows(movies.x, movies.terms, self.num_terms)
        feature_weight = feature_weight_of(graph[USER].num_nodes)
        source = spectral_embeddings(links, features, num_movies, width, float(self.l2), feature_weight)
        self.spectral_source.copy_(source[:, : self.spectral_source.size(1)])
        start = source[:, :channels]
        scale = start.square().sum(dim=1).mean().rsqrt()  # mean squared length 1, as of the random start
        self.movie_emb.weight.data.copy_(start * scale)
        # Odds of a link among such pairs: (p(m | u) degree / num_links) / (ratio / (num_users num_movies)).
        odds = graph[USER].num_nodes * num_movies / links.size(1) / neg_sampling_ratio
        self.constant.data.fill_(math.log(odds))

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes: [num_nodes, hidden_channels + spectral_channels + 2]."""
        movie, messages, table = batch[MOVIE].node_id, self._matrix(batch), self.table()
        h_user, prior = self._users(table, movie, messages)
        linear, (weight, scale, level) = _sum(messages, self.spectral_source[movie]), self.mix
        learned, catalogue = torch.cat([h_user, h_user.new_ones(len(h_user), 1)], dim=1), self.catalogue()
        z_user = torch.cat([h_user, linear * weight, learned[:, -1:]], dim=1) * scale
        z_movie = torch.cat([table, scored(self.spectral_source), self.movie_bias[:, None]], dim=1)
        sender, user = endpoints(messages)
        if self.temperature is None:
            prior = (prior - log_normalizer(learned, catalogue, user, movie[sender])) * scale + level
        else:
            prior = prior - log_normalizer(z_user, z_movie, user, movie[sender])
        return with_prior(z_user, prior, z_movie.index_select(0, movie))

    def embed_for_training(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """What is learned, [num_nodes, hidden_channels + 2]: without the linear part, and not normalised.

        The losses compute the scores of all movies anyway, and from them what :meth:`forward` subtracts.
        """
        movie, table = batch[MOVIE].node_id, self.catalogue()
        h_user, prior = self._users(table[:, : self.hidden_channels], movie, self._matrix(batch))
        z_user = torch.cat([h_user, h_user.new_ones(len(h_user), 1)], dim=1)
        return with_prior(z_user, prior, table.index_select(0, movie))

    @torch.no_grad()
    def choose_on_validation(self, graph: HeteroData, edge_label_index: Tensor, edge_label: Tensor) -> None:
        """Chooses weight and penalty of the linear part by what ranks the links best, then scale and level."""
        is_link = edge_label > 0
        if self.temperature is not None or not is_link.any() or is_link.all():
            return
        was_training, device = self.training, self.x.device
        self.eval()
        judged = Judged.of(graph, edge_label_index[:, is_link])
        batch, links = self._whole(judged.graph), (judged.row.to(device), judged.movie.to(device))
        messages, table = self._matrix(batch), self.table()
        sender, receiver = endpoints(messages)
        h_user, prior = self._users(table, batch[MOVIE].node_id, messages)
        learned = h_user @ table.T + self.movie_bias
        unseen = learned.index_put((receiver, sender), learned.new_tensor(-torch.inf))
        if self.spectral_l2 is None and not self.has_penalty:
            self._choose_penalty(unseen, messages, *links)
        linear = self._linear_scores(messages, edge_label_index)
        weight = self.spectral_weight
        if weight is None:
            (weight,) = choose_weights(unseen, [linear], [_WEIGHTS], *links)
        place = torch.full((graph[USER].num_nodes,), -1)
        place[judged.users] = torch.arange(judged.users.numel())
        is_theirs = place[edge_label_index[0]] >= 0
        user, movie = (place[edge_label_index[0]][is_theirs].to(device), edge_label_index[1][is_theirs].to(device))
        log_odds = prior - unseen.logsumexp(dim=1).clamp(min=LEAST)
        logits = learned[user, movie] + weight * linear[user, movie] + log_odds[user]
        chosen = weight, *scale_and_level(logits, is_link[is_theirs].to(device))
        self.mix.copy_(self.mix.new_tensor(chosen))
        self.train(was_training)

    def _choose_penalty(self, unseen: Tensor, messages: Tensor, row: Tensor, movie: Tensor) -> None:
        """Chooses the penalty at which the linear part ranks links best beside what is learned."""
        history, weight, l2 = _sum(messages, self.spectral_source), [float(self.mix[0])], float(self.l2)

        def judged(other: float) -> Tensor:
            return gains(unseen, linear_scores(history, self.spectral_source, l2, other), weight, row, movie)[0]

        chosen = best_of({other: judged(other) for other in _PENALTIES})
        self.spectral_source.copy_(with_penalty(self.spectral_source, l2, chosen))
        self.l2.fill_(chosen)
        self.has_penalty.fill_(True)

    def _linear_scores(self, messages: Tensor, judged: Tensor) -> Tensor:
        """[num_users, num_movies] of the linear part, which stay the same for the same ``judged`` pairs of a fit."""
        source = self.spectral_source
        what = judged, source, source._version
        if self._linear is None or any(one is not other for one, other in zip(self._linear[0], what, strict=True)):
            self._linear = what, _sum(messages, source) @ scored(source).T
        return self._linear[1]

    @property
    def chosen(self) -> dict[str, Any]:
        """Weight and penalty of the linear part, where the latter is given or has been chosen."""
        is_known = self.has_penalty or (self.spectral_l2 is not None and self.temperature is None)
        return {"spectral_weight": float(self.mix[0]), "spectral_l2": float(self.l2)} if is_known else {}

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

    def reader(self, graph: HeteroData) -> HistoryReader:
        """A history in dense operations."""
        return HistoryReader(self, self.embed_all(graph)[1])

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
        weight, scale, _ = self.mix.double()
        parts = torch.cat([own + conv * is_above @ out, self.spectral_source[movie].double() * weight], dim=1) * scale
        return F.pad(parts, (0, self.num_bias_channels))

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
