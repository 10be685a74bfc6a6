"""The heterogeneous graph transformer: attention over neighbours, with its own weights for each type."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import HGTConv
from torch_geometric.typing import NodeType

from lightning_lp.data.schema import METADATA
from lightning_lp.model.encoders.base import Sizes, check_option
from lightning_lp.model.encoders.embedding import EmbeddingEncoder


class HGTEncoder(EmbeddingEncoder):
    """Learned embeddings, then layers of attention over neighbours.

    Hu et al., "Heterogeneous graph transformer", WWW 2020, by PyG's ``HGTConv``; between layers stands a GELU.

    Args:
        hidden_channels: width of embeddings and layers, a multiple of ``heads``.
        num_layers: number of layers; as many hops are sampled.
        heads: number of attention heads.
    """

    def __init__(self, hidden_channels: int = 64, num_layers: int = 2, heads: int = 2) -> None:
        super().__init__()
        check_option(1 <= num_layers <= 16, "num_layers", num_layers, "1 to 16")
        check_option(1 <= heads <= 256, "heads", heads, "1 to 256")
        is_multiple = 1 <= hidden_channels < 2**20 and hidden_channels % heads == 0
        check_option(is_multiple, "hidden_channels", hidden_channels, f"a multiple of heads ({heads}), above 0,")
        self.hidden_channels, self.num_layers, self.heads = hidden_channels, num_layers, heads

    def build(self, sizes: Sizes) -> None:
        """Makes embeddings and layers."""
        self.build_inputs(sizes, self.hidden_channels)
        self.convs = nn.ModuleList(
            HGTConv(self.hidden_channels, self.hidden_channels, METADATA, self.heads) for _ in range(self.num_layers)
        )

    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds nodes: [num_nodes, hidden_channels]."""
        h_dict = self.inputs(batch)
        edge_index_dict = {edge_type: self.messages(batch, edge_type) for edge_type in self.edge_types}
        for i, conv in enumerate(self.convs):
            if i > 0:
                h_dict = {node_type: F.gelu(h) for node_type, h in h_dict.items()}
            h_dict = conv(h_dict, edge_index_dict)
        return h_dict
