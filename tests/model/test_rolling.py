"""Users as they were at a time: against a naive loop, and blind to what comes after."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.model.encoders.registry import make_encoder
from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.model.rolling import embed_queries, rolling_history
from tests.graphs import make_graph

NUM_USERS, NUM_MOVIES = 6, 12
SMALL = {
    "history": {"hidden_channels": 4, "spectral_channels": 4},
    "sequence": {"hidden_channels": 4, "spectral_channels": 4, "transition_channels": 4, "num_heads": 2},
    "sage": {"hidden_channels": 4},
}


def part(seed, num_links=40, num_held_out=15):
    """A part of a split by time, with ties, and the ratings of the whole graph."""
    rng = np.random.default_rng(seed)
    key = rng.choice(NUM_USERS * NUM_MOVIES, num_links, replace=False)
    links = torch.from_numpy(np.stack(np.divmod(key, NUM_MOVIES)))
    time = torch.from_numpy(np.sort(rng.integers(20, size=num_links)))
    rating = torch.from_numpy(rng.integers(1, 11, size=num_links) / np.float32(2))
    cut = num_links - num_held_out
    graph = make_graph(links[:, :cut], NUM_USERS, NUM_MOVIES)
    for edge_type in (RATES, REV_RATES):
        graph[edge_type].time, graph[edge_type].rating = time[:cut], rating[:cut]
    store = graph[RATES]
    store.edge_label_index, store.edge_label = links[:, cut:], torch.ones(num_held_out)
    store.edge_label_id, store.edge_label_time = torch.arange(cut, num_links).int(), time[cut:]
    return graph, links, time, rating


def module_of(name, graph):
    torch.manual_seed(0)
    module = LinkPredictionModule(
        NUM_USERS, NUM_MOVIES, 3, encoder=make_encoder({"class_path": name, "init_args": SMALL[name]})
    ).eval()
    module.encoder.prepare(graph, 2.0)
    for parameter in module.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_query_knows_what_is_strictly_earlier(seed):
    graph, links, time, rating = part(seed)
    rng = np.random.default_rng(seed)
    users, at = (torch.from_numpy(rng.integers(high, size=9)) for high in (NUM_USERS, 22))
    (movie, query), attrs = rolling_history(graph, rating).before(users, at)
    for i, (user, now) in enumerate(zip(users, at, strict=True)):
        earlier = (links[0] == user) & (time < now)
        found = list(
            zip(*(values[query == i].tolist() for values in (attrs["time"], movie, attrs["rating"])), strict=True)
        )
        assert [one for one, *_ in found] == sorted(time[earlier].tolist())
        expected = zip(time[earlier].tolist(), links[1, earlier].tolist(), rating[earlier].tolist(), strict=True)
        assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", SMALL)
def test_what_comes_at_or_after_a_query_changes_no_bit(name):
    graph, _, time, rating = part(3)
    module, now = module_of(name, graph), int(time[-8])
    users = torch.arange(NUM_USERS)
    before = embed_queries(module, graph, users, torch.full_like(users, now), rating)
    changed, other = part(3)[0], rating.clone()
    store = changed[RATES]
    is_later = store.edge_label_time >= now
    assert 2 < is_later.sum() < is_later.numel()
    store.edge_label_index[1, is_later] = (store.edge_label_index[1, is_later] + 1) % NUM_MOVIES
    store.edge_label_time[is_later] += torch.arange(int(is_later.sum())) % 3
    other[store.edge_label_id[is_later].long()] = 0.5
    after = embed_queries(module, changed, users, torch.full_like(users, now), other)
    assert torch.equal(before, after)
    then = torch.full_like(users, now + 9)
    assert not torch.equal(embed_queries(module, graph, users, then, rating), before)


def test_ratings_times_and_order_reach_the_encoder():
    graph, _, time, rating = part(5)
    module, users = module_of("sequence", graph), torch.arange(NUM_USERS)
    at = torch.full_like(users, int(time[-1]) + 1)
    z = embed_queries(module, graph, users, at, rating)
    assert not torch.equal(embed_queries(module, graph, users, at), z), "of unknown ratings"
    links, whole = part(5)[1], make_graph(torch.empty(2, 0).long(), NUM_USERS, NUM_MOVIES)
    whole[RATES].edge_index, whole[REV_RATES].edge_index = links, links.flip(0)
    for edge_type in (RATES, REV_RATES):
        whole[edge_type].time, whole[edge_type].rating = time, rating
    torch.testing.assert_close(z, module.embed_all(whole)[0], rtol=1e-4, atol=1e-5)


def test_many_queries_are_embedded_in_chunks(monkeypatch):
    graph, _, time, rating = part(1)
    module, sizes = module_of("history", graph), []
    users = torch.arange(700) % NUM_USERS
    embed_new = LinkPredictionModule.embed_new

    def spy(self, graph, edge_index, num_users, edge_attrs):
        sizes.append(num_users)
        return embed_new(self, graph, edge_index, num_users, edge_attrs)

    monkeypatch.setattr(LinkPredictionModule, "embed_new", spy)
    at = torch.full_like(users, int(time[-1]))
    z = embed_queries(module, graph, users, at, rating)
    assert sum(sizes) == 700
    assert max(sizes) <= 256
    torch.testing.assert_close(z[:6], z[600:606], rtol=1e-4, atol=1e-5)
    assert embed_queries(module, graph, users[:0], at[:0]).shape == (0, z.size(1))


def test_a_history_is_put_in_order_once_for_a_part():
    graph, *_, rating = part(1)
    history = rolling_history(graph, rating)
    assert rolling_history(graph, rating) is history
    assert "rating" not in rolling_history(graph).edge_attrs
