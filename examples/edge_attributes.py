"""Edges with attributes, through split and sampling, to a convolution that reads them.

A homogeneous, undirected graph: people who talk with each other. They belong to circles of which nobody is told; two
in five of their talks are with people of others. But the talks within a circle are long, and ``edge_attr`` holds how
long each was. ``split_links`` and ``link_loader`` keep it with its edge, so that ``GATv2Conv`` can attend to long
talks. The same model without the attribute shows what it is worth.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv
from torch_geometric.sampler import NegativeSampling
from torchmetrics.functional import auroc

from lightning_lp.graph.loader import link_loader
from lightning_lp.graph.split import split_links

NUM_PEOPLE, NUM_CIRCLES = 500, 10


def make_graph() -> Data:
    """Both directions of each talk stand in the one edge type, and both have its length."""
    circle = torch.randint(NUM_CIRCLES, (NUM_PEOPLE,))
    same = circle[:, None] == circle
    talks = (torch.rand(NUM_PEOPLE, NUM_PEOPLE) < torch.where(same, 0.2, 0.015)).triu(1).nonzero().t()
    length = same[talks[0], talks[1]][:, None] * 2.0 + torch.rand(talks.size(1), 1)
    return Data(
        node_id=torch.arange(NUM_PEOPLE),
        edge_index=torch.cat([talks, talks.flip(0)], dim=1),
        edge_attr=torch.cat([length, length]),
    )


class Encoder(nn.Module):
    """A vector for each person, and two layers of attention."""

    def __init__(self, channels: int = 16, reads_edges: bool = True) -> None:
        super().__init__()
        self.reads_edges = reads_edges
        self.embedding = nn.Embedding(NUM_PEOPLE, channels)
        nn.init.normal_(self.embedding.weight, std=0.3)
        edge_dim = 1 if reads_edges else None
        self.convs = nn.ModuleList(
            GATv2Conv(channels, channels, edge_dim=edge_dim, add_self_loops=False) for _ in range(2)
        )

    def forward(self, batch: Data) -> Tensor:
        """The scores of the batch's links and non-links, [num_labels]."""
        h = self.embedding(batch.node_id)
        for conv in self.convs:
            h = h + conv(h, batch.edge_index, batch.edge_attr if self.reads_edges else None)
        src, dst = batch.edge_label_index
        return (h[src] * h[dst]).sum(dim=1)


def fit_and_judge(data: Data, reads_edges: bool) -> float:
    """Trains for a few epochs. Returns the AUROC of held-out links."""
    torch.manual_seed(0)
    split = split_links(data, is_undirected=True, num_val=0.0, num_test=0.1, disjoint_train_ratio=0.0)
    train = link_loader(
        split.train, [15, 10], is_undirected=True, batch_size=256, neg_sampling=NegativeSampling("binary", 1.0)
    )
    test = link_loader(split.test, [-1, -1], is_undirected=True, batch_size=1024)
    model = Encoder(reads_edges=reads_edges)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(8):
        for batch in train:
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(batch), batch.edge_label).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        scored = [(model(batch).sigmoid(), batch.edge_label) for batch in test]
    scores, labels = (torch.cat(parts) for parts in zip(*scored, strict=True))
    return float(auroc(scores, labels.long(), task="binary"))


def main() -> None:
    """Compares the model with itself without the attribute."""
    torch.manual_seed(0)
    data = make_graph()
    for reads_edges in (False, True):
        name = "reads how long talks were" if reads_edges else "knows who talks with whom"
        print(f"{name}: test AUROC {fit_and_judge(data, reads_edges):.4f}")


if __name__ == "__main__":
    main()
