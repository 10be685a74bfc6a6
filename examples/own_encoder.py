"""An encoder of your own, used from the command line: trained, ranked and recommended from like any other.

    PYTHONPATH=examples lightning-lp fit --model.encoder own_encoder.MeanOfMovies --model.encoder.hidden_channels 32

``python examples/own_encoder.py`` does this on the data that comes with the package, and recommends.
"""

import sys

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from lightning_lp import Encoder, Sizes

REV_RATES = ("movie", "rev_rates", "user")


class MeanOfMovies(Encoder):
    """A user is the mean of its movies' vectors; a movie is its embedding and a linear map of its genres."""

    edge_types = (REV_RATES,)  # only movies send messages

    def __init__(self, hidden_channels: int = 64) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels

    def build(self, sizes: Sizes) -> None:
        """Makes the parameters."""
        self.embedding = nn.Embedding(sizes.num_movies, self.hidden_channels)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.genres = nn.Linear(sizes.num_features, self.hidden_channels)

    def forward(self, batch: HeteroData) -> dict[str, Tensor]:
        """Gives a vector to each user and movie of a batch."""
        movie = self.embedding(batch["movie"].node_id) + self.genres(batch["movie"].x)
        sender, receiver = self.messages(batch, REV_RATES)
        total = movie.new_zeros(batch["user"].node_id.numel(), movie.size(1)).index_add(0, receiver, movie[sender])
        count = torch.bincount(receiver, minlength=len(total)).clamp(min=1)
        return {"user": total / count[:, None], "movie": movie}


if __name__ == "__main__":
    from lightning_lp.__main__ import run

    small = ["--trainer.max_epochs=5", "--trainer.accelerator=cpu", *sys.argv[1:]]
    run(args=["fit", "--model.encoder=own_encoder.MeanOfMovies", "--model.lr=0.03", *small])
    run(args=["recommend", "--user=1", "--k=5"])
