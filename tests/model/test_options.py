"""Every option of the model does what its documentation says."""

import pytest
import torch

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.errors import UserError
from lightning_lp.model.schedule import warm_cosine
from tests.graph.test_sampler import make_loader
from tests.graphs import history_module, make_graph, random_links, sage_module, train_alone


@pytest.fixture
def data():
    return make_graph(random_links(20, 30, 150, seed=0), 20, 30)


def history(**options):
    torch.manual_seed(0)
    return history_module(20, 30, 3, 0, 1, **options)


def first_batch(data, hops):
    return next(iter(make_loader(data, hops, batch_size=64)))


@pytest.mark.parametrize("losses", [{"softmax": 1.0}, {"bpr": 1.0}, {"softmax": 1.0, "bce": 1.0}])
def test_graphsage_trains_with_every_loss(data, losses):
    module = sage_module(20, 30, 0, hidden_channels=8, losses=losses)
    train_alone(module)
    optimizer, found = torch.optim.Adam(module.parameters(), lr=0.03), []
    for _ in range(30):
        loss = module.training_step(first_batch(data, [3, 3]), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.9 * found[0]


def test_dropout_is_of_training_alone(data):
    plain, dropped = history(), history(dropout=0.5)
    for training in (False, True):
        z, z_dropped = (module.train(training).encoder(data)[USER][:, :-1] for module in (plain, dropped))
        assert torch.allclose(z, z_dropped) is not training


def test_the_exponent_weighs_users(data):
    batch = first_batch(data, {RATES: [0], REV_RATES: [-1]})
    degree = torch.bincount(data[RATES].edge_index[0], minlength=20)
    user = batch[USER].node_id[batch[RATES].edge_label_index[0, batch[RATES].edge_label > 0]]
    for exponent in (0.0, 0.5, 1.0):
        expected = degree[user].float() ** -exponent
        module = history(user_exponent=exponent)
        train_alone(module)
        found = module._scores(batch).weight
        torch.testing.assert_close(found, expected / expected.sum())


def test_raters_are_sampled_only_if_asked_for(data):
    assert first_batch(data, {RATES: [0], REV_RATES: [-1]})[RATES].edge_index.size(1) == 0
    assert first_batch(data, [-1])[RATES].edge_index.size(1) > 0


def test_temperature_changes_no_order_of_a_user(data):
    orders = []
    for temperature in (0.5, 3.0):
        z_dict = history(temperature=temperature).eval().encoder(data)
        orders.append((z_dict[USER].double() @ z_dict[MOVIE].double().T).argsort(dim=1))
    assert torch.equal(*orders)


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    rates = [warm_cosine(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] > 0.97
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("losses", {}), ("losses", {"hinge": 1.0}), ("losses", {"bce": 0.0}), ("dropout", 1.0), ("temperature", 0.0)],
)
def test_what_cannot_be_right_is_refused(option, value):
    with pytest.raises(UserError, match=f"{option} "):
        history(**{option: value})
