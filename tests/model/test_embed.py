import torch

from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.evaluation.ranking import dot_products
from tests.graphs import make_graph, random_links, sage_module


def test_matrices_give_what_lists_of_edges_give():
    data = make_graph(random_links(20, 30, 150, seed=0), 21, 31)  # the last user and movie have no messages
    module = sage_module(21, 31, 3, hidden_channels=8).train()
    expected = module.encoder(data)
    z_user, z_movie = module.encoder.embed_all(data)
    torch.testing.assert_close(z_user, expected[USER].detach())
    torch.testing.assert_close(z_movie, expected[MOVIE].detach())
    assert not z_user.requires_grad
    assert module.encoder.training
    scores = dot_products(z_user, z_movie)(torch.tensor([3, 20]))
    assert scores.shape == (2, 31)
    links = torch.tensor([[3, 20], [5, 30]])
    torch.testing.assert_close(scores[[0, 1], [5, 30]], module.classifier(z_user, z_movie, links))
    assert torch.equal(data[RATES].edge_index, random_links(20, 30, 150, seed=0))
