"""Embeds all nodes at once, with all their neighbours, as ranking and recommending need it."""

import warnings

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType
from torch_geometric.utils import to_torch_csr_tensor

from lightning_lp.data.schema import MOVIE, USER
from lightning_lp.evaluation.ranking import ScoreUsers
from lightning_lp.model.module import LinkPredictionModule


@torch.no_grad()
def embed_all(module: LinkPredictionModule, graph: HeteroData) -> tuple[Tensor, Tensor]:
    """Embeds every user and every movie, on the module's device and in evaluation mode.

    Args:
        module: the model.
        graph: its messages are the edges along which is embedded: ``split.val``, ``split.test`` or the whole graph.

    Returns:
        [num_users, channels] and [num_movies, channels], float32.
    """
    arguments = (graph.node_id_dict, graph.collect("x", allow_empty=True), adjacency(graph))
    was_training = module.training
    module.eval()
    z_dict = module.encoder(*({key: x.to(module.device) for key, x in store.items()} for store in arguments))
    module.train(was_training)
    return z_dict[USER].float(), z_dict[MOVIE].float()


def adjacency(graph: HeteroData) -> dict[EdgeType, Tensor]:
    """Sparse matrices [receivers, senders] of each edge type.

    They give the same means as lists of edges, several times as fast and without a vector for each edge in memory.
    """
    matrices = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support is in beta|invariant checks)")
        for edge_type, edge_index in graph.edge_index_dict.items():
            size = graph[edge_type[-1]].num_nodes, graph[edge_type[0]].num_nodes
            matrices[edge_type] = to_torch_csr_tensor(edge_index.flip(0), size=size)
    return matrices


def dot_products(z_user: Tensor, z_movie: Tensor) -> ScoreUsers:
    """Scores by the dot product of two embeddings, as the classifier does, on their device."""
    return lambda users: z_user[users.to(z_user.device)] @ z_movie.T
