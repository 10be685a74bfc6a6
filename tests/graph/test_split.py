from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData
from torch_geometric.transforms import RandomLinkSplit

from lightning_lp.data.rating_graph import build_graph
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.data.tables import read_tables
from lightning_lp.errors import UserError
from lightning_lp.graph.links import without_messages
from lightning_lp.graph.non_links import sample_non_links
from lightning_lp.graph.split import LinkSplit
from lightning_lp.graph.strategies import permutation
from tests.graphs import graphs, make_graph, pairs, random_links
from tests.graphs import split as split_links

STRATEGIES = st.sampled_from(["random", "temporal", "leave_last_out"])


def held_out(graph: HeteroData) -> torch.Tensor:
    return graph[RATES].edge_label_index[:, graph[RATES].edge_label > 0]


def non_links(graph: HeteroData) -> torch.Tensor:
    return graph[RATES].edge_label_index[:, graph[RATES].edge_label == 0]


def try_split(data: HeteroData, strategy: str, **settings: Any) -> LinkSplit:
    """A split, or no test case where the graph is too small or too dense for it."""
    try:
        return split_links(data, strategy, **settings)
    except UserError:
        assume(False)
        raise


@given(graphs(min_links=12), STRATEGIES, st.sampled_from([0.0, 0.3]), st.integers(0, 9))
def test_laws_hold_for_every_strategy(data, strategy, disjoint, seed):
    settings = {"disjoint_train_ratio": disjoint, "neg_sampling_ratio": 0.5, "non_links": "any", "seed": seed}
    split = try_split(data, strategy, num_val=0.2, num_test=0.1, **settings)
    everything = pairs(data[RATES].edge_index)
    train, val, test = pairs(split.train_links), pairs(held_out(split.val)), pairs(held_out(split.test))
    # The parts are disjoint and together the whole.
    assert train | val | test == everything
    assert len(train) + len(val) + len(test) == len(everything)
    # What carries messages where.
    messages, supervision = pairs(split.train[RATES].edge_index), pairs(split.train[RATES].edge_label_index)
    assert messages | supervision == train
    assert len(supervision) == (int(disjoint * len(train)) or len(train))
    assert messages.isdisjoint(supervision) if disjoint else messages == supervision == train
    assert pairs(split.val[RATES].edge_index) == train
    assert pairs(split.test[RATES].edge_index) == train | val
    # No link is held out and carries messages, in either direction.
    for graph in (split.val, split.test):
        assert pairs(held_out(graph)).isdisjoint(pairs(graph[RATES].edge_index))
    for graph in (split.train, split.val, split.test):
        assert pairs(graph[REV_RATES].edge_index.flip(0)) == pairs(graph[RATES].edge_index)
        messages = graph[RATES].edge_index.t().tolist()
        assert messages == sorted(messages)
    # Non-links are true ones of the whole graph, distinct over both parts, as many as asked for.
    negatives = [non_links(split.val), non_links(split.test)]
    assert [n.size(1) for n in negatives] == [int(0.5 * len(part)) for part in (val, test)]
    assert len(pairs(negatives[0]) | pairs(negatives[1])) == sum(n.size(1) for n in negatives)
    assert (pairs(negatives[0]) | pairs(negatives[1])).isdisjoint(everything)


@given(graphs(min_links=12), STRATEGIES, st.integers(0, 9))
def test_same_settings_same_split_whatever_the_global_state(data, strategy, seed):
    first = try_split(data, strategy, neg_sampling_ratio=0.5, seed=seed)
    torch.rand(3), np.random.random(3)
    assert split_links(data, strategy, neg_sampling_ratio=0.5, seed=seed).fingerprint == first.fingerprint


def test_one_link_is_enough_to_score():
    split = split_links(make_graph(random_links(9, 9, 40, seed=0), 9, 9), disjoint_train_ratio=1 / 32)
    assert (split.train[RATES].edge_label_index.size(1), split.train[RATES].num_edges) == (1, 31)


def test_the_fingerprint_tells_splits_apart():
    data = make_graph(random_links(30, 30, 300, seed=0), 30, 30)
    settings = [{}, {"seed": 1}, {"num_val": 0.2}, {"disjoint_train_ratio": 0.0}, {"neg_sampling_ratio": 1.0}]
    assert len({split_links(data, **chosen).fingerprint for chosen in settings}) == len(settings)


def test_temporal_holds_out_the_latest_links():
    data = make_graph(random_links(30, 30, 300, seed=0), 30, 30)
    data[RATES].time = torch.randperm(300)
    split = split_links(data, "temporal", num_val=0.2, num_test=0.1)
    time = dict(zip(map(tuple, data[RATES].edge_index.t().tolist()), data[RATES].time.tolist(), strict=True))
    times = [
        sorted(time[p] for p in pairs(part)) for part in (split.train_links, held_out(split.val), held_out(split.test))
    ]
    assert times == [list(range(210)), list(range(210, 270)), list(range(270, 300))]


def test_leave_last_out_takes_the_last_two_of_users_with_three():
    links = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3, 0, 1, 4, 5, 6]])
    data = make_graph(links, 3, 8)
    data[RATES].time = torch.tensor([40, 10, 30, 20, 1, 2, 5, 6, 7])
    split = split_links(data, "leave_last_out", disjoint_train_ratio=0.0)
    assert pairs(held_out(split.test)) == {(0, 0), (2, 6)}
    assert pairs(held_out(split.val)) == {(0, 2), (2, 5)}
    assert {(1, 0), (1, 1)} <= pairs(split.train_links)


@given(graphs(min_links=12), STRATEGIES, st.sampled_from([(0, 0), (0, 0.2), (0.2, 0)]), st.integers(0, 9))
def test_a_share_of_0_is_no_part(data, strategy, shares, seed):
    num_val, num_test = shares
    settings = {"num_val": num_val, "num_test": num_test, "non_links": "any", "seed": seed}
    split = try_split(data, strategy, neg_sampling_ratio=0.5, **settings)
    everything = pairs(data[RATES].edge_index)
    train, val, test = pairs(split.train_links), pairs(held_out(split.val)), pairs(held_out(split.test))
    assert (bool(val), bool(test)) == (num_val > 0, num_test > 0)
    assert list(split.held_out) == ["val"] * bool(val) + ["test"] * bool(test)
    assert (train | val | test, len(train) + len(val) + len(test)) == (everything, len(everything))
    assert len(pairs(split.test[RATES].edge_index)) == len(train | val)
    for graph, part in ((split.val, val), (split.test, test)):
        assert non_links(graph).size(1) == int(0.5 * len(part))


def test_leave_last_out_without_a_part_takes_the_last_of_users_with_two():
    links = torch.tensor([[0, 0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 0, 1, 4]])
    data = make_graph(links, 3, 8)
    data[RATES].time = torch.tensor([40, 10, 30, 20, 1, 2, 5])
    for left_out, part in (("num_val", "test"), ("num_test", "val")):
        split = split_links(data, "leave_last_out", disjoint_train_ratio=0.0, **{left_out: 0.0})
        assert pairs(held_out(split.held_out[part])) == {(0, 0), (1, 1)}


def test_sizes_are_those_of_pyg():
    data = make_graph(random_links(40, 50, 777, seed=0), 40, 50)
    theirs = RandomLinkSplit(
        num_val=0.1,
        num_test=0.1,
        disjoint_train_ratio=0.3,
        neg_sampling_ratio=2.0,
        add_negative_train_samples=False,
        edge_types=RATES,
        rev_edge_types=REV_RATES,
    )(data)
    ours = split_links(data)
    for mine, its in zip((ours.train, ours.val, ours.test), theirs, strict=True):
        for key in ("edge_index", "edge_label_index", "edge_label"):
            assert mine[RATES][key].shape == its[RATES][key].shape
            assert mine[RATES][key].dtype == its[RATES][key].dtype
        assert mine[RATES].edge_label.sum() == its[RATES].edge_label.sum()
        assert mine[REV_RATES].edge_index.shape == its[REV_RATES].edge_index.shape


@pytest.mark.parametrize("num", [1, 200, 1000, 70_000])
def test_permutations_of_small_integers_are_those_of_large_ones(num):
    """Else a split would be another one, and a checkpoint refused."""
    small, large = np.random.default_rng(5), np.random.default_rng(5)
    assert (permutation(num, small) == large.permutation(num)).all()
    assert small.integers(2**62) == large.integers(2**62)


def test_a_split_has_not_changed():
    """Else old checkpoints would be refused."""
    split = split_links(make_graph(random_links(60, 60, 1000, seed=0), 60, 60))
    assert split.fingerprint == "a8bc034ff53e8ae8"


OLD = {"temporal": "1467ce5ae0a9ca59", "leave_last_out": "23ad2a2122d00c1a"}
"""Fingerprints of version 0.2, whose non-links were of any source."""


@pytest.mark.parametrize("strategy", OLD)
def test_splits_by_time_with_any_non_links_have_not_changed(strategy):
    data = make_graph(random_links(60, 60, 1000, seed=0), 60, 60)
    data[RATES].time = torch.from_numpy(np.random.default_rng(1).integers(0, 99, 1000))
    assert split_links(data, strategy, non_links="any").fingerprint == OLD[strategy]
    assert split_links(data, strategy).fingerprint != OLD[strategy]
    assert split_links(data, non_links="any").fingerprint == "a8bc034ff53e8ae8"


@given(graphs(min_links=12), st.integers(0, 9), st.sampled_from([(0.1, 0.1), (0, 0.1), (0.1, 0)]))
def test_given_parts_are_taken_as_they_are(data, seed, shares):
    part = torch.from_numpy(np.random.default_rng(seed).choice(3, data[RATES].num_edges, p=[0.6, 0.2, 0.2]))
    links, (num_val, num_test) = data[RATES].edge_index, shares
    settings = {"num_val": num_val, "num_test": num_test, "disjoint_train_ratio": 0.0, "seed": seed}
    split = try_split(data, "given", part=part, **settings)
    val, test = (pairs(links[:, part == number]) for number in (1, 2))
    train = pairs(links) - (val if num_val else set()) - (test if num_test else set())
    assert pairs(split.train_links) == pairs(split.train[RATES].edge_index) == train
    assert pairs(held_out(split.val)) == (val if num_val else set())
    assert pairs(held_out(split.test)) == (test if num_test else set())


def test_a_link_in_several_parts_is_of_the_first_of_them():
    links = torch.tensor([[0, 0, 1, 1, 2, 2, 0, 3], [0, 1, 1, 2, 2, 0, 1, 3]])  # (0, 1) twice
    data = make_graph(links, 4, 4)
    split = split_links(data, "given", part=torch.tensor([0, 2, 0, 1, 0, 2, 1, 0]), disjoint_train_ratio=0.0)
    assert pairs(held_out(split.val)) == {(0, 1), (1, 2)}
    assert pairs(held_out(split.test)) == {(2, 0)}


@pytest.mark.parametrize(
    ("strategy", "part", "message"),
    [
        ("given", None, "`part` wanted with the strategy given"),
        ("random", torch.zeros(40), "and with no other"),
        ("given", torch.zeros(39), "0, 1 or 2 for each of 40 edges"),
        ("given", torch.full((40,), 3), "0, 1 or 2 for each of 40 edges"),
    ],
)
def test_parts_are_for_the_strategy_given(strategy, part, message):
    with pytest.raises(ValueError, match=message):
        split_links(make_graph(random_links(10, 10, 40, seed=0), 10, 10), strategy, part=part)


def test_given_without_times_has_any_non_links():
    data = make_graph(random_links(10, 10, 40, seed=0), 10, 10)
    part = torch.arange(40) % 3
    by_time = split_links(data, "given", part=part)
    del data[RATES].time
    assert "edge_label_time" not in split_links(data, "given", part=part).val[RATES]
    settings = [{"non_links": "any"}, {}, {"non_links": "of_source"}]
    any_pair, default, of_source = (split_links(data, "given", part=part, **each).fingerprint for each in settings)
    assert any_pair == default != of_source
    assert by_time.fingerprint not in (default, of_source)


def test_unknown_non_links_are_refused():
    with pytest.raises(UserError, match="`non_links` all: one of"):
        split_links(make_graph(random_links(10, 10, 40, seed=0), 10, 10), non_links="all")


def test_the_split_of_movielens_has_not_changed(movielens):
    split = split_links(build_graph(read_tables(movielens)).data, disjoint_train_ratio=0.0)
    assert split.fingerprint == "3940daa40f31b3bb"


def test_labels_are_mixed():
    split = split_links(make_graph(random_links(60, 60, 1000, seed=0), 60, 60))
    assert 0.2 < split.val[RATES].edge_label[:100].mean() < 0.5


@pytest.mark.slow
def test_non_links_are_uniform():
    links = torch.tensor([[1, 0, 0], [1, 2, 0]])  # in any order; leaves (0, 1), (1, 0), (1, 2)
    rng = np.random.default_rng(0)
    drawn = torch.cat([sample_non_links(links, 2, 3, 1, rng) for _ in range(3000)], dim=1)
    counts = {pair: int((drawn.t() == torch.tensor(pair)).all(dim=1).sum()) for pair in pairs(drawn)}
    assert counts.keys() == {(0, 1), (1, 0), (1, 2)}
    assert all(900 < count < 1100 for count in counts.values())


def test_every_non_link_can_be_drawn():
    links = random_links(7, 9, 50, seed=1)
    drawn = sample_non_links(links, 7, 9, 13, np.random.default_rng(0))
    assert pairs(drawn) | pairs(links) == {(u, m) for u in range(7) for m in range(9)}


@pytest.mark.parametrize(
    ("num_links", "settings", "message"),
    [
        (9, {}, "leaves none for validation"),
        (40, {"num_test": 0.02}, "leaves none for test"),
        (40, {"num_val": 0.8, "num_test": 0.2}, "leaves none for training"),
        (40, {"num_val": 0.8, "num_test": 0.4}, "leave some links for training"),
        (40, {"num_val": -0.1}, "at least 0"),
        (95, {}, "only 5 have none"),
        (40, {"disjoint_train_ratio": 0.01}, "leaves none to score"),
        (40, {"disjoint_train_ratio": 1.0}, "leaves none to carry messages"),
        (40, {"neg_sampling_ratio": 0.1}, "`neg_sampling_ratio`"),
    ],
)
def test_impossible_splits_are_refused(num_links, settings, message):
    data = make_graph(random_links(10, 10, num_links, seed=0), 10, 10)
    with pytest.raises(UserError, match=message):
        split_links(data, **settings)


def test_without_times_there_is_no_temporal_split():
    data = make_graph(random_links(10, 10, 40, seed=0), 10, 10)
    del data[RATES].time
    with pytest.raises(UserError, match="time of each link"):
        split_links(data, "temporal")


def test_nodes_and_features_are_shared_not_copied():
    data = make_graph(random_links(10, 10, 40, seed=0), 10, 10)
    split = split_links(data)
    for graph in (split.train, split.val, split.test):
        assert graph[MOVIE].x.data_ptr() == data[MOVIE].x.data_ptr()
        assert graph[USER].num_nodes == 10


def test_without_messages_only_edges_are_gone():
    val = split_links(make_graph(random_links(60, 60, 1000, seed=0), 60, 60)).val
    bare = without_messages(val)
    assert bare.num_edges == 0 < val.num_edges
    assert bare[USER].num_nodes == val[USER].num_nodes
    assert bare[MOVIE].x is val[MOVIE].x
    assert bare[RATES].edge_label_index is val[RATES].edge_label_index
    assert bare[RATES].edge_label is val[RATES].edge_label
