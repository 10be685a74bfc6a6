"""Embeddings and a heterogeneous GraphSAGE: from node ids, features and messages to node vectors."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.typing import EdgeType, NodeType
from torch_geometric.utils import trim_to_layer

from lightning_lp.data.schema import METADATA, MOVIE, REV_RATES, USER


class HeteroEncoder(nn.Module):
    """Learned embeddings, then GraphSAGE layers with one convolution for each edge type.

    A user starts from its embedding, a movie from its embedding plus a linear map of its features. Each layer
    adds a linear map of the mean of a node's neighbours to one of the node itself (Hamilton, Ying and Leskovec,
    "Inductive representation learning on large graphs", NeurIPS 2017); between layers stands a ReLU. This is
    what PyG's ``to_hetero`` makes of a homogeneous GraphSAGE, written out so that it can skip what the last
    layers do not need (``trim_to_layer``).

    Args:
        num_users: number of user nodes.
        num_movies: number of movie nodes.
        num_features: width of the movies' features; 0 if they have none.
        hidden_channels: width of embeddings and layers.
        num_layers: number of convolutions; as many hops must be sampled.
    """

    edge_types = tuple(METADATA[1])
    num_offsets = 0

    def __init__(
        self, num_users: int, num_movies: int, num_features: int, hidden_channels: int = 64, num_layers: int = 2
    ) -> None:
        super().__init__()
        self.user_emb = nn.Embedding(num_users, hidden_channels)
        self.movie_emb = nn.Embedding(num_movies, hidden_channels)
        self.movie_lin = nn.Linear(num_features, hidden_channels) if num_features else None
        channels = (hidden_channels, hidden_channels)
        self.convs = nn.ModuleList(
            HeteroConv({edge_type: SAGEConv(channels, hidden_channels) for edge_type in METADATA[1]})
            for _ in range(num_layers)
        )

    def forward(
        self,
        node_id_dict: dict[NodeType, Tensor],
        x_dict: dict[NodeType, Tensor],
        edge_index_dict: dict[EdgeType, Tensor],
        num_sampled_nodes_dict: dict[NodeType, list[int]] | None = None,
        num_sampled_edges_dict: dict[EdgeType, list[int]] | None = None,
    ) -> dict[NodeType, Tensor]:
        """Embeds nodes.

        Args:
            node_id_dict: [num_nodes] int64, the index of each node in the whole graph.
            x_dict: [num_nodes, num_features] float32 features of the movies; read only if there are features.
            edge_index_dict: [2, num_edges] int64 messages, in local indices.
            num_sampled_nodes_dict: nodes per hop, as a loader gives them. With both counts given, each layer
                computes only what the nodes of hop 0 need: their vectors are the same, later nodes have none.
            num_sampled_edges_dict: edges per hop.

        Returns:
            [num_nodes, hidden_channels] vectors by node type ([<= num_nodes, ...] if trimmed).
        """
        movie = self.movie_emb(node_id_dict[MOVIE])
        if self.movie_lin is not None:
            movie = movie + self.movie_lin(x_dict[MOVIE].to(movie.dtype))
        h_dict = {USER: self.user_emb(node_id_dict[USER]), MOVIE: movie}
        for i, conv in enumerate(self.convs):
            if num_sampled_nodes_dict is not None and num_sampled_edges_dict is not None:
                h_dict, edge_index_dict, _ = trim_to_layer(
                    i, num_sampled_nodes_dict, num_sampled_edges_dict, h_dict, edge_index_dict
                )
            if i > 0:
                h_dict = {node_type: F.relu(h) for node_type, h in h_dict.items()}
            h_dict = conv(h_dict, edge_index_dict)
        return h_dict

    def embed_new_users(self, edge_index: Tensor, num_users: int, movie_inputs: list[Tensor]) -> Tensor:
        """Embeds users that the graph lacks: the mean of all users' embeddings stands in for their own.

        They receive messages from their movies and send none, so that every known vector stays as it is.

        Args:
            edge_index: [2, num_edges] int64 (movie, new user).
            num_users: number of new users.
            movie_inputs: for each layer its input of all movies, [num_movies, hidden_channels].

        Returns:
            [num_users, hidden_channels].
        """
        h = self.user_emb.weight.mean(dim=0).expand(num_users, -1)
        for i, (conv, h_movie) in enumerate(zip(self.convs, movie_inputs, strict=True)):
            h = conv({USER: h.relu() if i > 0 else h, MOVIE: h_movie}, {REV_RATES: edge_index})[USER]
        return h
