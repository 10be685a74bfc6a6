"""Embeds all nodes at once, with all their neighbours, as evaluation and recommending need it."""

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, USER
from lightning_lp.graph.messages import adjacency
from lightning_lp.model.encoders.history import HistoryEncoder
from lightning_lp.model.encoders.sage import HeteroEncoder

Encoder = HeteroEncoder | HistoryEncoder


@torch.no_grad()
def embed_all(encoder: Encoder, graph: HeteroData) -> tuple[Tensor, Tensor]:
    """Embeds every user and every movie, on the encoder's device in evaluation mode and without autocast.

    Args:
        encoder: the model.
        graph: its messages are the edges along which is embedded: ``split.val``, ``split.test`` or the whole graph.

    Returns:
        [num_users, channels] and [num_movies, channels], float32.
    """
    weight = next(encoder.parameters())
    device = weight.device
    matrices = {
        edge_type: adjacency(
            graph[edge_type].edge_index, graph[edge_type[-1]].num_nodes, graph[edge_type[0]].num_nodes
        ).to(device, weight.dtype)
        for edge_type in encoder.edge_types
    }
    nodes, features = ({key: x.to(device) for key, x in graph.collect(of, True).items()} for of in ("node_id", "x"))
    was_training = encoder.training
    encoder.eval()
    with torch.autocast(device.type, enabled=False):
        z_dict = encoder(nodes, features, matrices)
    encoder.train(was_training)
    return z_dict[USER].float(), z_dict[MOVIE].float()
