import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import SAGEConv, to_hetero

from lightning_lp.data.schema import METADATA, MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.classifier import DotProductClassifier
from lightning_lp.model.encoders.sage import HeteroEncoder
from tests.graph.test_sampler import make_loader
from tests.graphs import make_graph, random_links


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


def test_equals_the_tutorials_model(data):
    encoder = HeteroEncoder(20, 30, 3, hidden_channels=8)
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
    z_dict = encoder(data.node_id_dict, data.x_dict, data.edge_index_dict)
    for node_type in (USER, MOVIE):
        torch.testing.assert_close(z_dict[node_type], expected[node_type])


@pytest.mark.parametrize("hops", [[5, 3], [-1, -1], [4, 4, 4]])
def test_trimming_changes_nothing_for_the_links(data, hops):
    encoder = HeteroEncoder(20, 30, 0, hidden_channels=8, num_layers=len(hops))
    for batch in make_loader(data, hops, batch_size=16):
        inputs = batch.node_id_dict, {}, batch.edge_index_dict
        whole = encoder(*inputs)
        trimmed = encoder(*inputs, batch.num_sampled_nodes_dict, batch.num_sampled_edges_dict)
        for node_type, ends in zip((USER, MOVIE), batch[RATES].edge_label_index, strict=True):
            torch.testing.assert_close(trimmed[node_type][ends], whole[node_type][ends])


def test_all_neighbours_give_what_the_whole_graph_gives(data):
    encoder = HeteroEncoder(20, 30, 0, hidden_channels=8)
    z_dict = encoder(data.node_id_dict, {}, data.edge_index_dict)
    for batch in make_loader(data, [-1, -1], batch_size=16, exclude_seed_links=False):
        sampled = encoder(batch.node_id_dict, {}, batch.edge_index_dict)
        for node_type, ends in zip((USER, MOVIE), batch[RATES].edge_label_index, strict=True):
            node = batch[node_type].node_id[ends]
            torch.testing.assert_close(sampled[node_type][ends], z_dict[node_type][node])


def test_nodes_without_messages_have_finite_vectors(data):
    encoder = HeteroEncoder(20, 30, 3, hidden_channels=8)
    nothing = {RATES: torch.empty(2, 0, dtype=torch.int64), REV_RATES: torch.empty(2, 0, dtype=torch.int64)}
    z_dict = encoder(data.node_id_dict, data.x_dict, nothing)
    assert all(z.isfinite().all() for z in z_dict.values())


def test_features_reach_the_score(data):
    encoder = HeteroEncoder(20, 30, 3, hidden_channels=8)
    before = encoder(data.node_id_dict, data.x_dict, data.edge_index_dict)
    after = encoder(data.node_id_dict, {MOVIE: 1 - data[MOVIE].x}, data.edge_index_dict)
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
    encoder = HeteroEncoder(200, 300, 0, hidden_channels=8)
    batch = next(iter(make_loader(data, [2, 2], batch_size=4)))
    z_dict = encoder(
        batch.node_id_dict, {}, batch.edge_index_dict, batch.num_sampled_nodes_dict, batch.num_sampled_edges_dict
    )
    for node_type in (USER, MOVIE):
        assert z_dict[node_type].size(0) == sum(batch[node_type].num_sampled_nodes[:2]) < batch[node_type].num_nodes
