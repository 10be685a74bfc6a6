"""SASRec: a transformer that reads a user's movies in order and says which one comes next."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from lightning_lp.evaluation.catalogue_loss import catalogue_cross_entropy
from lightning_lp.evaluation.queries import Links, Queries
from lightning_lp.graph.sequences import Sequences

_MAX_WATCHED = 1000
_MIN_BATCHES = 16
_BATCHES_SORTED = 16  # at once by length: batches stay random, and little of them is padding


@dataclass
class SASRec:
    """Causal self-attention over the latest movies, with a softmax over the whole catalogue at every place.

    Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018; with the full cross entropy in place of
    their single negatives it is far better (Klenitskiy and Vasilev, "Turning dross into gold loss: is BERT4Rec really
    better than SASRec?", RecSys 2023). Layers normalise first; places are counted from the end.

    The last movie of half of the users (at most 1,000) is kept from training, and the epoch whose lists have the
    highest NDCG@10 for them is the one that is used.

    Args:
        hidden_channels: width of the embeddings and layers.
        num_layers: layers of attention.
        num_heads: heads of each.
        max_length: how many of the latest movies are read.
        dropout: share of inputs and activations that is left out in training.
        lr: learning rate of Adam.
        batch_size: sequences in a batch, less where an epoch would have fewer than 16 batches.
        epochs: passes over the sequences, at most.
        patience: passes without a better NDCG@10, after which training stops.
    """

    hidden_channels: int = 64
    num_layers: int = 2
    num_heads: int = 2
    max_length: int = 200
    dropout: float = 0.2
    lr: float = 1e-3
    batch_size: int = 128
    epochs: int = 100
    patience: int = 10
    net: "CausalTransformer" = field(init=False, repr=False)
    num_raters: Tensor = field(init=False, repr=False)

    def fit(self, links: Links, features: csr_matrix, seed: int) -> None:
        """Trains, without touching the global random state."""
        self.num_raters = torch.from_numpy(links.matrix.getnnz(axis=0)).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = CausalTransformer(
                links.num_movies, self.hidden_channels, self.num_layers, self.num_heads, self.max_length, self.dropout
            )
            self._train(links.sequences)
        self.net.eval()

    @torch.no_grad()
    def score(self, queries: Queries) -> Tensor:
        """Follows the history and its order; without any the score is the number of raters in training."""
        ordered = queries.history.sequences
        scores = self.num_raters.repeat(queries.users.numel(), 1)
        asked = ordered.length.nonzero().flatten()
        if asked.numel():
            scores[asked] = self._next(ordered, asked, ordered.indptr[asked + 1])
        return scores

    def memory(self, num_users: int, num_movies: int, num_links: int, num_features: int) -> int:
        """Weights with gradients and Adam's state, the best ones, and a batch's activations and scores."""
        weights = num_movies * self.hidden_channels + 8 * self.num_layers * self.hidden_channels**2
        length = min(self.max_length, 1 + 4 * num_links // max(1, num_users))
        places = self.batch_size * length
        attention = self.batch_size * self.num_heads * length**2 * self.num_layers
        scored = 2 * 256 * num_movies
        return 4 * (6 * weights + scored + 4 * attention + 30 * places * self.hidden_channels)

    def _train(self, ordered: Sequences) -> None:
        watched = _watched(ordered.length)
        end = ordered.indptr[1:].clone()
        end[watched] -= 1
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        best, reached, since = copy.deepcopy(self.net.state_dict()), -1.0, 0
        for _ in range(self.epochs):
            self.net.train()
            for rows in self._batches(end - ordered.indptr[:-1]):
                movie, place, is_movie = latest(ordered, rows, end[rows] - 1, self.max_length)
                following = ordered.node[place[is_movie] + 1]
                loss = catalogue_cross_entropy(self.net(movie, is_movie), self.net.movie.weight, following)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            ndcg = self._ndcg(ordered, watched, end[watched]) if watched.numel() else reached + 1
            since = 0 if ndcg > reached else since + 1
            if ndcg > reached:
                best, reached = copy.deepcopy(self.net.state_dict()), ndcg
            if since == self.patience:
                break
        self.net.load_state_dict(best)

    def _batches(self, length: Tensor) -> Iterator[Tensor]:
        """Users with at least two movies, those of like length together."""
        rows = (length > 1).nonzero().flatten()
        rows = rows[torch.randperm(rows.numel())]
        size = min(self.batch_size, max(1, rows.numel() // _MIN_BATCHES))
        near = [part[length[part].argsort(stable=True)] for part in torch.split(rows, size * _BATCHES_SORTED)]
        batches = torch.split(torch.cat([rows[:0], *near]), size)
        return (batches[i] for i in torch.randperm(len(batches)) if batches[i].numel())

    def _next(self, ordered: Sequences, rows: Tensor, end: Tensor) -> Tensor:
        """[num_rows, num_movies] scores of what comes at ``end`` [num_rows]."""
        movie, _, is_movie = latest(ordered, rows, end, self.max_length)
        last = is_movie.sum(dim=1).cumsum(0) - 1
        scores: Tensor = self.net(movie, is_movie)[last] @ self.net.movie.weight.T
        return scores

    @torch.no_grad()
    def _ndcg(self, ordered: Sequences, rows: Tensor, end: Tensor) -> float:
        """NDCG@10 of the movie at ``end`` among those that are not yet read."""
        self.net.eval()
        total = 0.0
        for chosen, ends in zip(torch.split(rows, self.batch_size), torch.split(end, self.batch_size), strict=True):
            scores = self._next(ordered, chosen, ends)
            wanted = scores.gather(1, ordered.node[ends, None])
            movie, _, is_movie = latest(ordered, chosen, ends, self.max_length)
            row = is_movie.nonzero()[:, 0]
            scores[row, movie[is_movie]] = -torch.inf
            place = 1 + (scores > wanted).sum(dim=1).double()
            total += float((1 / (place + 1).log2())[place <= 10].sum())
        return total / rows.numel()


class CausalTransformer(nn.Module):
    """Reads movies in order.

    Args:
        num_movies: size of the catalogue.
        channels: width.
        num_layers: layers of attention.
        num_heads: heads of each.
        max_length: greatest number of movies.
        dropout: share that is left out in training.
    """

    def __init__(
        self, num_movies: int, channels: int, num_layers: int, num_heads: int, max_length: int, dropout: float
    ) -> None:
        super().__init__()
        self.movie = nn.Embedding(num_movies, channels)
        self.place = nn.Embedding(max_length, channels)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(channels, num_heads, channels, dropout, batch_first=True, norm_first=True)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(channels)
        for embedding in (self.movie, self.place):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, movie: Tensor, is_movie: Tensor) -> Tensor:
        """Vectors of what comes next.

        Args:
            movie: [num_rows, length] int64, the latest last, then padding, which no earlier place can see.
            is_movie: [num_rows, length] bool, False at padding.

        Returns:
            [num_movies_read, channels], row after row, after each movie.
        """
        length = movie.size(1)
        from_end = is_movie.sum(dim=1, keepdim=True) - 1 - torch.arange(length)
        x = self.movie(movie) + self.place(from_end.clamp(min=0))  # [num_rows, length, channels]
        x, mask = self.dropout(x), nn.Transformer.generate_square_subsequent_mask(length)
        for layer in self.layers:
            x = layer(x, mask, is_causal=True)
        found: Tensor = self.norm(x[is_movie])
        return found


def latest(ordered: Sequences, rows: Tensor, end: Tensor, max_length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The latest movies of some rows, padded behind.

    Args:
        ordered: the sequences.
        rows: [num_rows] int64.
        end: [num_rows] int64, where each ends: what stands there is not read.
        max_length: greatest number of movies.

    Returns:
        [num_rows, length] int64 movies, int64 places in ``ordered.node``, and bool, False at padding.
    """
    start = torch.maximum(ordered.indptr[rows], end - max_length)
    column = torch.arange(int((end - start).max()))
    is_movie = column < (end - start)[:, None]
    place = torch.where(is_movie, start[:, None] + column, 0)
    return ordered.node[place], place, is_movie


def _watched(length: Tensor) -> Tensor:
    """[num] int64, the users by whom training is stopped: such as leave two movies and more to learn from."""
    eligible = (length > 2).nonzero().flatten()
    return eligible[torch.randperm(eligible.numel())[: min(_MAX_WATCHED, -(-eligible.numel() // 2))]]
