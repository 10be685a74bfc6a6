"""Non-links that stand beside links: of the same source, at the same time, another destination that exists by then."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.graph.non_links_of_source import sample_non_links_of_source
from lightning_lp.graph.split import LinkSplit
from lightning_lp.graph.ties import is_tied
from tests.graphs import graphs, make_graph, pairs, random_links
from tests.graphs import split as split_links

BY_TIME = st.sampled_from(["temporal", "leave_last_out", "given"])


@st.composite
def timed_graphs(draw: st.DrawFn) -> HeteroData:
    """Random graphs whose times are in any order, with many ties or few."""
    data = draw(graphs(min_links=12))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    num_times = draw(st.sampled_from([1, 4, 1000]))
    data[RATES].time = torch.from_numpy(rng.integers(0, num_times, data[RATES].num_edges))
    return data


def try_split(data: HeteroData, strategy: str, **settings: float) -> LinkSplit:
    """A split, or no test case where the graph is too small or too dense for it."""
    if strategy == "given":
        rng = np.random.default_rng(settings["seed"])
        settings["part"] = torch.from_numpy(rng.choice(3, data[RATES].num_edges, p=[0.6, 0.2, 0.2]))
    try:
        return split_links(data, strategy, **{"num_val": 0.2, "num_test": 0.2, **settings})
    except UserError:
        assume(False)
        raise


def labels(graph: HeteroData, wanted: int) -> list[tuple[int, int, int]]:
    """(source, destination, time) of the links or non-links of a part."""
    store = graph[RATES]
    chosen = store.edge_label == wanted
    src, dst = store.edge_label_index[:, chosen].tolist()
    return list(zip(src, dst, store.edge_label_time[chosen].tolist(), strict=True))


class World:
    """What is a link and what exists when, by naive loops."""

    def __init__(self, data: HeteroData) -> None:
        src, dst = data[RATES].edge_index.tolist()
        self.time = dict(zip(zip(src, dst, strict=True), data[RATES].time.tolist(), strict=True))
        self.begin = {m: min(t for (_, other), t in self.time.items() if other == m) for m in set(dst)}

    def free(self, user: int, time: float = float("inf")) -> set[int]:
        """The movies that exist by a time and are no link of the user's."""
        return {m for m, begin in self.begin.items() if begin <= time and (user, m) not in self.time}


@pytest.mark.slow
@given(timed_graphs(), BY_TIME, st.sampled_from([1, 2, 6]), st.integers(0, 9))
def test_each_stands_beside_a_link_and_exists_by_then(data, strategy, ratio, seed):
    split = try_split(data, strategy, neg_sampling_ratio=ratio, seed=seed)
    world, used, at = World(data), defaultdict(list), defaultdict(list)
    for graph in (split.val, split.test):
        links, non_links = labels(graph, 1), labels(graph, 0)
        assert all(world.time[u, m] == t for u, m, t in links)
        wanted = Counter(u for u, _, _ in links for _ in range(min(ratio, len(world.free(u)))))
        assert Counter(u for u, _, _ in non_links) == wanted
        for u, t in {(u, t) for u, _, t in links}:
            at[u] += [t] * sum((u, t) == (v, s) for v, _, s in links)
        beside = {(u, t) for u, _, t in links}
        of = defaultdict(set)
        for u, m, t in non_links:
            assert (u, m) not in world.time
            assert (u, t) in beside
            of[u, t].add(m)
            if world.begin[m] <= t:
                used[u].append(m)
        for (u, t), movies in of.items():  # what comes later is taken where nothing else is left
            assert movies <= world.free(u, t) or movies > world.free(u, t)
    for u, times in at.items():  # distinct where that many exist: what exists for one exists for all that are later
        distinct = 0
        for t in sorted(times):
            distinct += min(ratio, len(world.free(u, t)) - distinct)
        assert len(set(used[u])) == distinct


@given(timed_graphs(), st.sampled_from([0.5, 1.5, 2.25]), st.integers(0, 9))
def test_a_fraction_is_shared_out(data, ratio, seed):
    split = try_split(data, "temporal", neg_sampling_ratio=ratio, seed=seed)
    world = World(data)
    for graph in (split.val, split.test):
        links, non_links = labels(graph, 1), labels(graph, 0)
        for (u, t), num in Counter((u, t) for u, _, t in links).items():
            found = sum((u, t) == (v, s) for v, _, s in non_links)
            assert found <= num * np.ceil(ratio)
            assert found >= num * min(int(ratio), len(world.free(u)))
        if all(len(world.free(u)) >= np.ceil(ratio) for u, _, _ in links):
            assert len(non_links) == int(ratio * len(links))


@given(timed_graphs(), BY_TIME, st.sampled_from([0.0, 0.3]), st.integers(0, 9))
def test_every_label_has_a_time_where_the_split_is_by_time(data, strategy, disjoint, seed):
    split = try_split(data, strategy, disjoint_train_ratio=disjoint, seed=seed)
    for graph in (split.train, split.val, split.test):
        store = graph[RATES]
        assert store.edge_label_time.shape == store.edge_label.shape
        assert store.edge_label_time.dtype == torch.int64
        is_link = store.edge_label > 0
        assert torch.equal(store.edge_label_time[is_link], data[RATES].time[store.edge_label_id[is_link]])
    if strategy == "temporal":
        assert split.val[RATES].time.max() <= split.val[RATES].edge_label_time.min()
        assert split.test[RATES].time.max() <= split.test[RATES].edge_label_time.min()


@given(timed_graphs(), BY_TIME, st.integers(0, 9))
def test_any_non_links_have_the_time_of_a_link(data, strategy, seed):
    split = try_split(data, strategy, non_links="any", neg_sampling_ratio=1.0, seed=seed)
    for graph in (split.val, split.test):
        links, non_links = labels(graph, 1), labels(graph, 0)
        assert Counter(t for *_, t in links) == Counter(t for *_, t in non_links)


@given(timed_graphs(), st.integers(0, 9))
def test_a_random_split_may_have_non_links_of_the_source(data, seed):
    split = try_split(data, "random", non_links="of_source", neg_sampling_ratio=1.0, seed=seed)
    num_movies = data["movie"].num_nodes
    for graph in (split.train, split.val, split.test):
        assert "edge_label_time" not in graph[RATES]
    for graph in (split.val, split.test):
        store = graph[RATES]
        links, non_links = (store.edge_label_index[:, store.edge_label == label] for label in (1, 0))
        degree = torch.bincount(data[RATES].edge_index[0])
        has_some = degree[links[0]] < num_movies
        assert sorted(links[0][has_some].tolist()) == sorted(non_links[0].tolist())
        assert pairs(non_links).isdisjoint(pairs(data[RATES].edge_index))


@given(timed_graphs(), BY_TIME, st.integers(0, 9))
def test_the_same_seed_gives_the_same_non_links(data, strategy, seed):
    first = try_split(data, strategy, seed=seed)
    torch.rand(3), np.random.random(3)
    assert try_split(data, strategy, seed=seed).fingerprint == first.fingerprint


def test_a_part_without_any_non_link_is_refused():
    links = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])
    with pytest.raises(UserError, match="the sources of its 1 held-out links have none"):
        split_links(make_graph(links, 1, 4), "temporal", num_val=0.25, num_test=0.25, disjoint_train_ratio=0.0)


@pytest.mark.parametrize(
    ("num_links", "wanted"),
    [(3, range(3, 21)), (12, range(12, 21)), (21, range(21, 40))],
    ids=["most that exist are free", "some are", "none is, and others come later"],
)
def test_each_that_exists_is_as_likely(num_links, wanted):
    links = torch.stack([torch.zeros(num_links, dtype=torch.int64), torch.arange(num_links)])
    others = torch.stack([torch.ones(40, dtype=torch.int64), torch.arange(40)])  # one after another; two never
    links, time = torch.cat([links, others], dim=1), np.r_[[20] * num_links, range(40)]
    rng, drawn = np.random.default_rng(0), Counter[int]()
    for _ in range(100 * len(wanted)):
        found, beside = sample_non_links_of_source(links, 42, np.array([0]), np.array([1]), rng, time=time)
        assert (found[0].tolist(), beside.tolist()) == ([0], [0])
        drawn[int(found[1])] += 1
    assert drawn.keys() == set(wanted)
    assert all(60 < count < 140 for count in drawn.values())


@pytest.mark.parametrize("seed", range(5))
def test_what_came_too_late_for_one_link_is_left_for_the_next(seed):
    links, time = torch.tensor([[0, 1, 1, 1, 0], [3, 0, 1, 2, 4]]), np.array([1, 0, 4, 4, 5])
    rng = np.random.default_rng(seed)
    found, at = sample_non_links_of_source(links, 5, np.array([0, 4]), np.array([2, 2]), rng, time=time)
    of = [set(found[1, at == link].tolist()) for link in (0, 1)]
    assert of[0] in ({0, 1}, {0, 2}), "0 exists by then, and one more is wanted"
    assert of[1] == {1, 2}


@pytest.mark.slow
def test_many_links_are_drawn_beside_at_once():
    links = random_links(500, 400, 20_000, seed=0)
    time = np.random.default_rng(0).integers(0, 10**6, 20_000)
    beside = np.arange(0, 20_000, 2)
    found, at = sample_non_links_of_source(links, 400, beside, np.full(10_000, 2), np.random.default_rng(1), time=time)
    assert np.bincount(at).tolist() == [2] * 10_000
    assert len(pairs(found)) == 20_000
    assert pairs(found).isdisjoint(pairs(links))
    assert torch.equal(found[0], links[0][beside[at]])
    begin = np.full(400, 10**6)
    np.minimum.at(begin, links[1].numpy(), time)
    is_early = begin[found[1]] <= time[beside[at]]
    assert is_early.mean() > 0.999, "nearly all exist by the time of nearly all links"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=20))
def test_ties_are_those_of_a_naive_loop(links):
    source, time = torch.tensor(links, dtype=torch.int64).view(-1, 2).t()
    assert is_tied(source, time).tolist() == [links.count(link) > 1 for link in links]
