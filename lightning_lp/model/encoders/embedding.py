"""What encoders share that begin with an embedding of each node."""

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.data.schema import MOVIE, USER
from lightning_lp.model.encoders.base import Encoder, Sizes


class EmbeddingEncoder(Encoder):
    """Makes the embeddings that layers begin with.

    A user starts from its embedding, a movie from its embedding plus a linear map of its features. The mean of all
    users' embeddings stands in for that of a user who was not there in training.
    """

    num_layers: int

    @property
    def num_neighbors(self) -> dict[EdgeType, list[int]]:
        """The tutorial's 20, then 10; half as many in each further hop."""
        return {edge_type: [max(1, 20 >> hop) for hop in range(self.num_layers)] for edge_type in self.edge_types}

    def build_inputs(self, sizes: Sizes, channels: int) -> None:
        """Makes the embeddings, ``channels`` wide."""
        self.user_emb = nn.Embedding(sizes.num_users, channels)
        self.movie_emb = nn.Embedding(sizes.num_movies, channels)
        self.movie_lin = nn.Linear(sizes.num_features, channels) if sizes.num_features else None

    def inputs(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """[num_nodes, channels] by node type."""
        user, movie = batch[USER].node_id, self.movie_emb(batch[MOVIE].node_id)
        if self.movie_lin is not None:
            movie = movie + self.movie_lin(batch[MOVIE].x.to(movie.dtype))
        h_user = self.user_emb(user.clamp(min=0))
        if not self.training and (user < 0).any():
            h_user = torch.where(user[:, None] < 0, self.user_emb.weight.mean(dim=0), h_user)
        return {USER: h_user, MOVIE: movie}
