"""Baselines that learn from pairs of a rated and an unrated movie: BPR-MF and LightGCN."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.nn import LightGCN
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.nn.models.lightgcn import BPRLoss
from torch_geometric.utils import sort_edge_index
from torch_geometric.utils.sparse import index2ptr

from lightning_lp.evaluation.queries import Links, Queries


@dataclass
class BPR:
    """Embeddings, averaged over layers of neighbours, trained to score rated movies above others.

    Without layers this is BPR-MF (Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI
    2009); with layers it is LightGCN (He et al., "LightGCN: Simplifying and powering graph convolution network for
    recommendation", SIGIR 2020). Both are PyG's ``LightGCN`` and ``BPRLoss``.

    Scores do not depend on the history: the embeddings are those of training.

    Args:
        num_layers: layers of neighbours.
        channels: width of the embeddings.
        epochs: passes over the links.
        num_batches: steps of Adam in each epoch.
        lr: learning rate.
        penalty: L2 penalty on the embeddings of a batch.
    """

    num_layers: int = 0
    channels: int = 64
    epochs: int = 60
    num_batches: int = 4
    lr: float = 0.01
    penalty: float = 4e-3
    z_user: Tensor = field(init=False, repr=False)
    z_movie: Tensor = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Trains the embeddings, without touching the global random state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            z = self._train(links.matrix)
        self.z_user, self.z_movie = torch.split(z, list(links.shape))

    def score(self, queries: Queries) -> Tensor:
        """Dot products of embeddings: [num, num_movies] float32."""
        return self.z_user[queries.users] @ self.z_movie.T

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Bytes: weights, gradients, Adam's state and layers; a batch's triples; the graph."""
        nodes = (num_users + num_movies) * self.channels * 4 * (5 + 2 * self.num_layers)
        batch = num_links // self.num_batches * self.channels * 4 * 8
        return nodes + batch + num_links * 2 * 40

    def _train(self, user_item: csr_matrix) -> Tensor:
        num_users, num_movies = user_item.shape
        links = torch.from_numpy(np.stack(user_item.nonzero()).astype(np.int64))
        keys = (links[0] * num_movies + links[1]).sort().values
        model = LightGCN(num_users + num_movies, self.channels, self.num_layers, normalize=False)
        adjacency = _adjacency(links, num_users, num_movies)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr)
        bpr_loss = BPRLoss(self.penalty)
        for _ in range(self.epochs):
            for chosen in torch.randperm(links.size(1)).chunk(self.num_batches):
                user, liked = links[:, chosen]
                other = torch.randint(num_movies, (user.numel(),))
                is_other = ~_contains(keys, user * num_movies + other)
                user, liked, other = user[is_other], num_users + liked[is_other], num_users + other[is_other]
                if not user.numel():
                    continue
                z = model.get_embedding(adjacency)
                z_user, z_liked, z_other = (F.embedding(nodes, z) for nodes in (user, liked, other))
                loss = bpr_loss(
                    (z_user * z_liked).sum(dim=1),
                    (z_user * z_other).sum(dim=1),
                    model.embedding(torch.cat([user, liked, other])),
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            z = model.get_embedding(adjacency)
        assert isinstance(z, Tensor)
        return z


def _adjacency(links: Tensor, num_users: int, num_movies: int) -> Tensor:
    """Symmetric and normalised by degrees, once: sparse, it is propagated nine times as fast as an edge list."""
    edges = links + torch.tensor([[0], [num_users]])
    num_nodes = num_users + num_movies
    edge_index, weight = gcn_norm(torch.cat([edges, edges.flip(0)], dim=1), num_nodes=num_nodes, add_self_loops=False)
    (row, col), weight = sort_edge_index(edge_index, weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            index2ptr(row, num_nodes), col, weight, size=(num_nodes, num_nodes), check_invariants=True
        )


def _contains(sorted_keys: Tensor, keys: Tensor) -> Tensor:
    place = torch.searchsorted(sorted_keys, keys).clamp(max=sorted_keys.numel() - 1)
    return sorted_keys[place] == keys
