"""What encoders share that have one table of movies, for histories and candidates alike."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch_geometric.data.storage import NodeStorage
from torch_geometric.typing import NodeType

from lightning_lp.data.schema import MOVIE, USER
from lightning_lp.model.encoders.base import Encoder, Sizes


class MovieTableEncoder(Encoder):
    """Makes the table: a movie is its embedding plus linear maps of its genres and of the terms of its title."""

    x: Tensor
    terms: Tensor

    def build_table(self, sizes: Sizes, channels: int) -> None:
        """Makes the parts of the table, ``channels`` wide; :meth:`init_table` sets their weights."""
        self.num_terms = sizes.num_terms
        self.movie_emb = nn.Embedding(sizes.num_movies, channels)
        self.movie_lin = nn.Linear(sizes.num_features, channels, bias=False) if sizes.num_features else None
        self.term_emb = nn.EmbeddingBag(sizes.num_terms + 1, channels, mode="sum", padding_idx=0)
        self.movie_bias = nn.Parameter(torch.zeros(sizes.num_movies))
        self.register_buffer("x", torch.zeros(sizes.num_movies, sizes.num_features))
        self.register_buffer("terms", torch.zeros(sizes.num_movies, sizes.max_terms, dtype=torch.int64))

    def init_table(self) -> None:
        """Movies begin with vectors of length 1, on average, and features with nothing to say."""
        nn.init.normal_(self.movie_emb.weight, std=self.movie_emb.embedding_dim**-0.5)
        for module in (self.movie_lin, self.term_emb):
            if module is not None:
                nn.init.zeros_(module.weight)

    def take_features(self, movies: NodeStorage) -> None:
        """Takes over genres and terms of titles."""
        self.x.copy_(movies.x)
        self.terms.copy_(movies.terms)

    def catalogue(self) -> Tensor:
        """[num_movies, channels + 1] vectors of all movies, of what is learned; the last is the movie's bias."""
        return torch.cat([self.table(), self.movie_bias[:, None]], dim=1)

    def table(self) -> Tensor:
        """[num_movies, channels] what is learned of each movie."""
        table: Tensor = self.movie_emb.weight + self.term_emb(self.terms)
        if self.movie_lin is not None:
            table = table + self.movie_lin(self.x)
        return table


def with_prior(z_user: Tensor, prior: Tensor, z_movie: Tensor) -> dict[NodeType, Tensor]:
    """The vectors with one more channel, whose product is the user's part of the score, ``prior`` [num_users]."""
    return {USER: torch.cat([z_user, prior[:, None]], dim=1), MOVIE: pad(z_movie, (0, 1), value=1.0)}
