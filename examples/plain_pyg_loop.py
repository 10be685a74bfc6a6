"""Link prediction in an ordinary PyG loop: split, sampler and loader of ``lightning_lp.graph``, without Lightning.

The graph has three node types: authors write papers, and papers appear in venues. Which papers an author writes is to
be predicted. A link that is being scored carries no message in its batch, in either direction, so that all training
links can both teach and carry messages; negatives are never training links; and batches depend on the seed alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import transforms as T
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.sampler import NegativeSampling
from torchmetrics.functional import auroc

from lightning_lp.graph.loader import link_loader
from lightning_lp.graph.split import split_links

WRITES, REV_WRITES = ("author", "writes", "paper"), ("paper", "rev_writes", "author")
NUM_TOPICS = 8


def make_graph(num_authors: int = 600, num_papers: int = 800, num_venues: int = 40) -> HeteroData:
    """Authors mostly write about their topic, and a venue has one topic; nobody is told any topic."""
    data = HeteroData()
    topics = {}
    for node_type, num in {"author": num_authors, "paper": num_papers, "venue": num_venues}.items():
        data[node_type].node_id = torch.arange(num)
        topics[node_type] = torch.randint(NUM_TOPICS, (num,))
    same = topics["author"][:, None] == topics["paper"]
    data[WRITES].edge_index = (torch.rand(num_authors, num_papers) < torch.where(same, 0.12, 0.002)).nonzero().t()
    same = topics["paper"][:, None] == topics["venue"]
    data["paper", "in", "venue"].edge_index = (torch.rand(num_papers, num_venues) < same * 0.3).nonzero().t()
    return T.ToUndirected()(data)


class Encoder(nn.Module):
    """A vector for each node, and two layers of messages over all edge types."""

    def __init__(self, data: HeteroData, channels: int = 32) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({t: nn.Embedding(data[t].num_nodes, channels) for t in data.node_types})
        for embedding in self.embeddings.values():
            nn.init.normal_(embedding.weight, std=0.1)
        self.convs = nn.ModuleList(
            HeteroConv({t: SAGEConv((channels, channels), channels) for t in data.edge_types}) for _ in range(2)
        )

    def forward(self, batch: HeteroData) -> Tensor:
        """The scores of the batch's links and non-links, [num_labels]."""
        h = {node_type: self.embeddings[node_type](batch[node_type].node_id) for node_type in batch.node_types}
        for conv in self.convs:
            h = {t: h[t] + F.relu(out) for t, out in conv(h, batch.edge_index_dict).items()}
        src, dst = batch[WRITES].edge_label_index
        return (h["author"][src] * h["paper"][dst]).sum(dim=1)


def main() -> None:
    """Trains for six epochs and judges on the held-out links."""
    torch.manual_seed(0)
    data = make_graph()
    # Every training link carries messages and is scored: the sampler leaves out those of the batch.
    split = split_links(data, WRITES, REV_WRITES, num_val=0.0, num_test=0.1, disjoint_train_ratio=0.0)
    kind = {"edge_type": WRITES, "rev_edge_type": REV_WRITES, "num_neighbors": [10, 5]}
    train = link_loader(split.train, batch_size=256, neg_sampling=NegativeSampling("binary", 1.0), **kind)
    test = link_loader(split.test, batch_size=512, **kind)

    model = Encoder(data)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(6):
        losses = []
        for batch in train:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(batch), batch[WRITES].edge_label)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.4f}")

    model.eval()
    with torch.no_grad():
        scored = [(model(batch).sigmoid(), batch[WRITES].edge_label) for batch in test]
    scores, labels = (torch.cat(parts) for parts in zip(*scored, strict=True))
    print(f"test AUROC {float(auroc(scores, labels.long(), task='binary')):.4f}")


if __name__ == "__main__":
    main()
