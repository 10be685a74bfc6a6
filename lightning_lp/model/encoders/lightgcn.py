"""LightGCN: embeddings, smoothed over the graph, and nothing else."""

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.encoders.base import Sizes, check_option
from lightning_lp.model.encoders.embedding import EmbeddingEncoder


class LightGCNEncoder(EmbeddingEncoder):
    """Means over layers of neighbours' embeddings.

    In each layer a node becomes the sum of its neighbours, each divided by the square roots of both degrees; its vector
    is the mean of all layers, its own embedding among them (He et al., "LightGCN: Simplifying and powering graph
    convolution network for recommendation", SIGIR 2020). Degrees are those of the whole graph, also in a mini-batch,
    which shows some neighbours alone.

    Args:
        hidden_channels: width of the embeddings.
        num_layers: layers of neighbours; as many hops are sampled, with all neighbours.
    """

    needs_graph = True
    reads_matrices = True
    user_degree: Tensor
    movie_degree: Tensor

    def __init__(self, hidden_channels: int = 64, num_layers: int = 2) -> None:
        super().__init__()
        check_option(1 <= hidden_channels < 2**20, "hidden_channels", hidden_channels, "1 to a million")
        check_option(1 <= num_layers <= 16, "num_layers", num_layers, "1 to 16")
        self.hidden_channels, self.num_layers = hidden_channels, num_layers

    @property
    def num_neighbors(self) -> dict[EdgeType, list[int]]:
        """All of them."""
        return {edge_type: [-1] * self.num_layers for edge_type in self.edge_types}

    def build(self, sizes: Sizes) -> None:
        """Makes the embeddings; the paper's are normal, with a standard deviation of 0.1."""
        self.build_inputs(sizes, self.hidden_channels)
        for embedding in (self.user_emb, self.movie_emb):
            nn.init.normal_(embedding.weight, std=0.1)
        self.register_buffer("user_degree", torch.zeros(sizes.num_users))
        self.register_buffer("movie_degree", torch.zeros(sizes.num_movies))

    def prepare(self, graph: HeteroData, neg_sampling_ratio: float) -> None:
        """Counts the training links of each node."""
        for degree, node in zip((self.user_degree, self.movie_degree), graph[RATES].edge_index, strict=True):
            degree.copy_(torch.bincount(node, minlength=len(degree)))

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes: [num_nodes, hidden_channels]."""
        h = self.inputs(batch)
        norm = {node_type: self._degree(batch, node_type).clamp(min=1).rsqrt()[:, None] for node_type in h}
        layers = [h]
        for _ in range(self.num_layers):
            sent = {node_type: layers[-1][node_type] * norm[node_type] for node_type in h}
            got = {
                USER: _sums(self.messages(batch, REV_RATES), sent[MOVIE], len(h[USER])),
                MOVIE: _sums(self.messages(batch, RATES), sent[USER], len(h[MOVIE])),
            }
            layers.append({node_type: got[node_type] * norm[node_type] for node_type in h})
        return {node_type: torch.stack([layer[node_type] for layer in layers]).mean(dim=0) for node_type in h}

    def _degree(self, batch: HeteroData, node_type: NodeType) -> Tensor:
        """[num_nodes] degrees: counted in a whole graph, remembered in a mini-batch."""
        if "adj_t" in batch[REV_RATES]:
            matrix = self.messages(batch, REV_RATES if node_type == USER else RATES)
            return matrix.crow_indices().diff().to(self.user_degree.dtype)
        known = self.user_degree if node_type == USER else self.movie_degree
        return known[batch[node_type].node_id]


def _sums(messages: Tensor, h: Tensor, num_receivers: int) -> Tensor:
    """[num_receivers, channels] sums of messages."""
    if messages.layout != torch.strided:
        summed: Tensor = torch.sparse.mm(messages, h)
        return summed
    sender, receiver = messages
    return h.new_zeros(num_receivers, h.size(1)).index_add(0, receiver, h.index_select(0, sender))
