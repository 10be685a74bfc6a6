"""A LightningModule of your own on this package's data module: loaders, split and ranking are ours, the rest is yours.

The model is matrix factorisation with biases. It has ``embed_all``, so that the callback can rank the whole catalogue;
with ``forward`` alone it would be ranked, too, only more slowly.
"""

import sys

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from lightning_lp import MovieLensDataModule
from lightning_lp.callbacks.ranking import RankingMetrics

RATES = ("user", "rates", "movie")


class MatrixFactorisation(pl.LightningModule):
    """The logit of a link is the product of two vectors, and a bias of the movie."""

    def __init__(self, num_users: int, num_movies: int, channels: int = 16) -> None:
        super().__init__()
        self.user, self.movie = nn.Embedding(num_users, channels), nn.Embedding(num_movies, channels)
        self.bias = nn.Parameter(torch.zeros(num_movies))
        for embedding in (self.user, self.movie):
            nn.init.normal_(embedding.weight, std=0.1)

    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Vectors of all users and all movies, whose products rank."""
        z_user = torch.cat([self.user.weight, torch.ones_like(self.user.weight[:, :1])], dim=1)
        return z_user.detach(), torch.cat([self.movie.weight, self.bias[:, None]], dim=1).detach()

    def forward(self, batch: HeteroData) -> Tensor:
        """[num_labels] logits."""
        user, movie = batch[RATES].edge_label_index
        user, movie = batch["user"].node_id[user], batch["movie"].node_id[movie]
        return (self.user(user) * self.movie(movie)).sum(dim=1) + self.bias[movie]

    def training_step(self, batch: HeteroData, batch_idx: int) -> Tensor:
        """Binary cross entropy of links and non-links."""
        loss = F.binary_cross_entropy_with_logits(self(batch), batch[RATES].edge_label)
        self.log("train/loss", loss, batch_size=batch[RATES].edge_label.numel(), prog_bar=True)
        return loss

    def validation_step(self, batch: HeteroData, batch_idx: int) -> None:
        """The same."""
        loss = F.binary_cross_entropy_with_logits(self(batch), batch[RATES].edge_label)
        self.log("val/loss", loss, batch_size=batch[RATES].edge_label.numel(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.02)


def main(root: str | None = None) -> None:
    """Trains, and prints how well the model ranks."""
    pl.seed_everything(0)
    data = MovieLensDataModule(root, batch_size=1024)
    model = MatrixFactorisation(data.num_users, data.num_movies)
    trainer = pl.Trainer(max_epochs=5, accelerator="cpu", callbacks=[RankingMetrics()], logger=False)
    trainer.fit(model, datamodule=data)
    print({name: round(float(value), 4) for name, value in trainer.callback_metrics.items() if "@20" in name})


if __name__ == "__main__":
    main(*sys.argv[1:])
