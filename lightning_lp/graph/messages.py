"""Edges as sparse matrices: sums and means of messages without a vector for each edge in memory."""

import warnings

import torch
from torch import Tensor
from torch_geometric.index import index2ptr, ptr2index


def adjacency(edge_index: Tensor, num_receivers: int, num_senders: int, value: Tensor | None = None) -> Tensor:
    """The sparse matrix [num_receivers, num_senders] of edges, in CSR layout.

    As PyG's convolutions take it in place of edges, it gives the same means, several times as fast.

    Args:
        edge_index: [2, num_edges] int64 (sender, receiver). Sorted by receiver, it is used as it is.
        num_receivers: number of nodes that messages reach.
        num_senders: number of nodes that messages come from.
        value: [num_edges] float32 entries. Default: ones.
    """
    sender, receiver = edge_index
    value = torch.ones_like(sender, dtype=torch.float32) if value is None else value
    if (receiver[1:] < receiver[:-1]).any():
        order = receiver.argsort(stable=True)
        sender, receiver, value = sender[order], receiver[order], value[order]
    first = index2ptr(receiver.contiguous(), num_receivers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support is in beta|invariant checks)")
        return torch.sparse_csr_tensor(first, sender, value, (num_receivers, num_senders))


def endpoints(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Senders and receivers, [num_edges] each, of such a matrix; receivers ascend."""
    return matrix.col_indices(), ptr2index(matrix.crow_indices())
