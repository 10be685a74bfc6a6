import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv, to_hetero

from lightning_lp.data.schema import METADATA, MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.classifier import DotProductClassifier
from lightning_lp.model.encoders.sage import SageEncoder
from tests.graph.test_sampler import make_loader
from tests.graphs import built, make_graph, random_links


class TutorialGNN(nn.Module):
    """The tutorial's homogeneous model, which it makes heterogeneous with ``to_hetero``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(channels, channels), SAGEConv(channels, channels)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.conv2(F.relu(self.conv1(x, edge_index)), edge_index)


@pytest.fixture
def data():
    return make_graph(random_links(20, 30, 150, seed=0), 20, 30)


def whole_graph(batch):
    """A mini-batch as if it were a graph: nothing tells what was sampled in which hop."""
    graph = HeteroData()
    for node_type in batch.node_types:
        graph[node_type].node_id = batch[node_type].node_id
    for edge_type in batch.edge_types:
        graph[edge_type].edge_index = batch[edge_type].edge_index
    return graph


def test_equals_the_tutorials_model(data):
    encoder = built(SageEncoder(hidden_channels=8), 20, 30, 3)
    gnn = to_hetero(TutorialGNN(8), METADATA)
    for i, conv in enumerate(encoder.convs):
        for edge_type in METADATA[1]:
            theirs = getattr(gnn, f"conv{i + 1}")["__".join(edge_type)]
            theirs.load_state_dict(conv.convs[edge_type].state_dict())
    x_dict = {
        USER: encoder.user_emb(data[USER].node_id),
        MOVIE: encoder.movie_lin(data[MOVIE].x) + encoder.movie_emb(data[MOVIE].node_id),
    }
    expected = gnn(x_dict, data.edge_index_dict)
    z_dict = encoder(data)
    for node_type in (USER, MOVIE):
        torch.testing.assert_close(z_dict[node_type], expected[node_type])


@pytest.mark.parametrize("hops", [[5, 3], [-1, -1], [4, 4, 4]])
def test_trimming_changes_nothing_for_the_links(data, hops):
    encoder = built(SageEncoder(hidden_channels=8, num_layers=len(hops)), 20, 30, 0)
    for batch in make_loader(data, hops, batch_size=16):
        trimmed = encoder(batch)
        whole = encoder(whole_graph(batch))
        for node_type, ends in zip((USER, MOVIE), batch[RATES].edge_label_index, strict=True):
            torch.testing.assert_close(trimmed[node_type][ends], whole[node_type][ends])


def test_all_neighbours_give_what_the_whole_graph_gives(data):
    encoder = built(SageEncoder(hidden_channels=8), 20, 30, 0)
    z_dict = encoder(data)
    for batch in make_loader(data, [-1, -1], batch_size=16, exclude_seed_links=False):
        sampled = encoder(whole_graph(batch))
        for node_type, ends in zip((USER, MOVIE), batch[RATES].edge_label_index, strict=True):
            node = batch[node_type].node_id[ends]
            torch.testing.assert_close(sampled[node_type][ends], z_dict[node_type][node])


def test_nodes_without_messages_have_finite_vectors(data):
    encoder = built(SageEncoder(hidden_channels=8), 20, 30, 3)
    for edge_type in (RATES, REV_RATES):
        data[edge_type].edge_index = torch.empty(2, 0, dtype=torch.int64)
    z_dict = encoder(data)
    assert all(z.isfinite().all() for z in z_dict.values())


def test_features_reach_the_score(data):
    encoder = built(SageEncoder(hidden_channels=8), 20, 30, 3)
    before = encoder(data)
    data[MOVIE].x = 1 - data[MOVIE].x
    after = encoder(data)
    assert not torch.allclose(before[USER], after[USER])


def test_scores_are_float32_products():
    z_user, z_movie = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]])
    links = torch.tensor([[1, 0], [0, 0]])
    assert DotProductClassifier()(z_user, z_movie, links).tolist() == [39.0, 17.0]
    z_user, z_movie = torch.randn(200, 64).bfloat16(), torch.randn(200, 64).bfloat16()
    scores = DotProductClassifier()(z_user, z_movie, torch.arange(200).expand(2, 200))
    assert scores.dtype == torch.float32
    assert scores.unique().numel() == 200


def test_trimming_computes_less():
    data = make_graph(random_links(200, 300, 900, seed=0), 200, 300)
    encoder = built(SageEncoder(hidden_channels=8), 200, 300, 0)
    batch = next(iter(make_loader(data, [2, 2], batch_size=4)))
    z_dict = encoder(batch)
    for node_type in (USER, MOVIE):
        assert z_dict[node_type].size(0) == sum(batch[node_type].num_sampled_nodes[:2]) < batch[node_type].num_nodes
