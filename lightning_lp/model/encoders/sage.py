"""Embeddings and a heterogeneous GraphSAGE: the tutorial's encoder."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.typing import EdgeType, NodeType
from torch_geometric.utils import trim_to_layer

from lightning_lp.data.schema import METADATA
from lightning_lp.model.encoders.base import Sizes, check_option, sampled
from lightning_lp.model.encoders.embedding import EmbeddingEncoder


class SageEncoder(EmbeddingEncoder):
    """Learned embeddings, then GraphSAGE layers with one convolution for each edge type.

    Each layer adds a linear map of the mean of a node's neighbours to one of the node itself (Hamilton, Ying and
    Leskovec, "Inductive representation learning on large graphs", NeurIPS 2017); between layers stands a ReLU. This is
    what PyG's ``to_hetero`` makes of a homogeneous GraphSAGE, written out so that it can skip what the last
    layers do not need (``trim_to_layer``).

    Args:
        hidden_channels: width of embeddings and layers.
        num_layers: number of convolutions; as many hops are sampled.
    """

    reads_matrices = True

    def __init__(self, hidden_channels: int = 64, num_layers: int = 2) -> None:
        super().__init__()
        check_option(1 <= hidden_channels < 2**20, "hidden_channels", hidden_channels, "1 to a million")
        check_option(1 <= num_layers <= 16, "num_layers", num_layers, "1 to 16")
        self.hidden_channels, self.num_layers = hidden_channels, num_layers

    def build(self, sizes: Sizes) -> None:
        """Makes embeddings and convolutions."""
        self.build_inputs(sizes, self.hidden_channels)
        channels = (self.hidden_channels, self.hidden_channels)
        self.convs = nn.ModuleList(
            HeteroConv({edge_type: SAGEConv(channels, self.hidden_channels) for edge_type in METADATA[1]})
            for _ in range(self.num_layers)
        )

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes. Of a mini-batch, each layer computes only what the nodes of hop 0 need."""
        h_dict, hops = self.inputs(batch), sampled(batch)
        edges: dict[EdgeType, Any] = {edge_type: self.messages(batch, edge_type) for edge_type in self.edge_types}
        for i, conv in enumerate(self.convs):
            if hops is not None:
                h_dict, edges, _ = trim_to_layer(i, *hops, h_dict, edges)
            if i > 0:
                h_dict = {node_type: F.relu(h) for node_type, h in h_dict.items()}
            h_dict = conv(h_dict, edges)
        return h_dict
