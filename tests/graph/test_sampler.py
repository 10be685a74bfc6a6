from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader, NeighborLoader
from torch_geometric.sampler import NegativeSampling

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.order import LinkOrder
from lightning_lp.graph.sampler import LinkNeighborSampler
from tests.graphs import graphs, make_graph, pairs, random_links

FAN_OUTS = st.lists(st.sampled_from([-1, 1, 2, 5]), min_size=1, max_size=3)
TWO_EACH = NegativeSampling("binary", 2.0)


def make_sampler(data: HeteroData, num_neighbors: list[int], **options: object) -> LinkNeighborSampler:
    return LinkNeighborSampler(data, num_neighbors, edge_type=RATES, rev_edge_type=REV_RATES, **options)


def make_loader(
    data: HeteroData,
    num_neighbors: list[int],
    links: torch.Tensor | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    neg_sampling: NegativeSampling | None = TWO_EACH,
    epoch: int = 0,
    num_replicas: int = 1,
    rank: int = 0,
    **options: object,
) -> LinkNeighborLoader:
    links = data[RATES].edge_index if links is None else links
    shares = {"num_replicas": num_replicas, "rank": rank}
    sampler = make_sampler(data, num_neighbors, **shares, **options)
    order = LinkOrder(links.size(1), batch_size, shuffle=True, sampler=sampler, **shares)
    order.set_epoch(epoch)
    graph = HeteroData({USER: {"node_id": data[USER].node_id}, MOVIE: {"node_id": data[MOVIE].node_id}})
    graph[USER].degree = torch.bincount(data[RATES].edge_index[0], minlength=data[USER].num_nodes)
    for edge_type in (RATES, REV_RATES):
        graph[edge_type].update({key: data[edge_type][key] for key in ("edge_index", "time") if key in data[edge_type]})
    return LinkNeighborLoader(
        graph,
        num_neighbors,
        edge_label_index=(RATES, links),
        neg_sampling=neg_sampling,
        neighbor_sampler=sampler,
        sampler=order,
        batch_size=batch_size * num_replicas,
        num_workers=num_workers,
    )


def global_edges(batch: HeteroData, edge_type: tuple[str, str, str], hop: int | None = None) -> torch.Tensor:
    """The sampled edges in global indices, of one hop or of all."""
    edge_index = batch[edge_type].edge_index
    if hop is not None:
        sizes = batch[edge_type].num_sampled_edges
        edge_index = edge_index[:, sum(sizes[:hop]) : sum(sizes[: hop + 1])]
    return torch.stack([batch[t].node_id[end] for t, end in zip(edge_type[::2], edge_index, strict=True)])


def scored(batch: HeteroData) -> tuple[torch.Tensor, torch.Tensor]:
    """Links and negatives of a batch in global indices."""
    user, movie = batch[RATES].edge_label_index
    links = torch.stack([batch[USER].node_id[user], batch[MOVIE].node_id[movie]])
    return links[:, batch[RATES].edge_label > 0], links[:, batch[RATES].edge_label == 0]


@settings(deadline=None)
@given(graphs(), FAN_OUTS, st.booleans(), st.integers(1, 20), st.integers(0, 3))
def test_laws(data, num_neighbors, exclude, batch_size, seed):
    """What is sampled, held against a naive account of what may and must be."""
    loader = make_loader(data, num_neighbors, batch_size=batch_size, exclude_seed_links=exclude, seed=seed)
    everything = {RATES: pairs(data[RATES].edge_index), REV_RATES: pairs(data[REV_RATES].edge_index)}
    visited: list[tuple[int, int]] = []
    for batch in loader:
        links, negatives = scored(batch)
        visited += map(tuple, links.t().tolist())
        assert negatives.size(1) == 2 * links.size(1)
        assert pairs(negatives).isdisjoint(everything[RATES])
        left_out = {RATES: pairs(links) if exclude else set(), REV_RATES: pairs(links.flip(0)) if exclude else set()}
        for node_type in (USER, MOVIE):
            assert batch[node_type].node_id.unique().numel() == batch[node_type].num_nodes
            assert sum(batch[node_type].num_sampled_nodes) == batch[node_type].num_nodes
        # Nodes are numbered hop by hop: the frontier of hop h are those found in hop h - 1.
        bounds = {t: np.cumsum([0, *batch[t].num_sampled_nodes]).tolist() for t in (USER, MOVIE)}
        for hop, fan_out in enumerate(num_neighbors):
            for edge_type in (RATES, REV_RATES):
                sampled = global_edges(batch, edge_type, hop).t().tolist()
                assert len(set(map(tuple, sampled))) == len(sampled)  # no edge twice
                allowed = everything[edge_type] - left_out[edge_type]
                assert set(map(tuple, sampled)) <= allowed
                dst_type = edge_type[-1]
                first, last = list(pairwise(bounds[dst_type]))[hop]
                frontier = batch[dst_type].node_id[first:last].tolist()
                for node in frontier:
                    neighbors = sum(dst == node for _, dst in sampled)
                    available = sum(dst == node for _, dst in allowed)
                    assert neighbors == (available if fan_out < 0 else min(fan_out, available))
                assert {dst for _, dst in sampled} <= set(frontier)
    assert sorted(visited) == sorted(everything[RATES])  # every link once an epoch


@settings(deadline=None)
@given(graphs(), st.permutations(range(6)), st.integers(0, 3))
def test_e_id_names_the_sampled_edges_whatever_the_order_of_the_graph(data, order, seed):
    data = make_graph(data[RATES].edge_index[:, torch.randperm(data[RATES].num_edges)], 12, 12)
    for batch in make_loader(data, [3, -1], seed=seed):
        for edge_type in (RATES, REV_RATES):
            named = data[edge_type].edge_index[:, batch[edge_type].e_id]
            assert torch.equal(named, global_edges(batch, edge_type))


@pytest.mark.slow
def test_neighbours_are_uniform():
    """Each of 20 neighbours, and each pair of them, is taken equally often, with and without exclusion."""
    links = torch.stack([torch.arange(20), torch.zeros(20, dtype=torch.int64)])
    data = make_graph(links, 20, 2)
    for exclude in (False, True):
        sampler = make_sampler(data, [4], exclude_seed_links=exclude)
        counts = np.zeros((20, 20))
        for epoch in range(1500):
            sampler.set_epoch(epoch)
            loader = make_loader(data, [4], links=links[:, :1], neg_sampling=None, exclude_seed_links=exclude)
            loader.link_sampler = sampler
            users = global_edges(next(iter(loader)), RATES)[0].numpy()
            counts[np.ix_(users, users)] += 1
        first = 1 if exclude else 0  # user 0's link is the seed
        assert counts[0, 0] == 0 if exclude else counts[0, 0] > 0
        single = np.diag(counts)[first:]
        both = counts[first:, first:][np.triu_indices(20 - first, k=1)]
        assert chisquare(single).pvalue > 1e-3
        assert chisquare(both).pvalue > 1e-3


def test_negatives_are_uniform_over_the_non_links():
    links = random_links(6, 7, 20, seed=0)
    data = make_graph(links, 6, 7)
    counts = dict.fromkeys({(u, m) for u in range(6) for m in range(7)} - pairs(links), 0)
    for epoch in range(100):
        for batch in make_loader(data, [1], epoch=epoch):
            for pair in scored(batch)[1].t().tolist():
                counts[tuple(pair)] += 1
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_negatives_avoid_given_links_and_no_others():
    links, known = random_links(6, 7, 10, seed=0), random_links(6, 7, 30, seed=1)
    drawn = [
        set().union(
            *(pairs(scored(batch)[1]) for e in range(60) for batch in make_loader(data, [1], epoch=e, **options))
        )
        for data in [make_graph(links, 6, 7)]
        for options in ({"positives": known}, {"positives": known[:, :0]})
    ]
    everything = {(u, m) for u in range(6) for m in range(7)}
    assert drawn[0] == everything - pairs(known)
    assert drawn[1] == everything


def test_negatives_of_the_same_source_are_uniform_over_its_non_links():
    links = torch.cat(
        [random_links(5, 7, 16, seed=0), torch.tensor([[5] * 7, [*range(7)]])], dim=1
    )  # 5 has links to all
    data = make_graph(links, 6, 7)
    degree = torch.bincount(links[0], minlength=6)
    counts = {pair: 0 for pair in {(u, m) for u in range(5) for m in range(7)} - pairs(links) if degree[pair[0]]}
    for epoch in range(100):
        for batch in make_loader(data, [1], epoch=epoch, same_source=True):
            found, negatives = scored(batch)
            kept = found[:, found[0] != 5]
            assert torch.equal(negatives[0], torch.cat([kept[0], kept[0]])), "a round of negatives after another"
            for pair in negatives.t().tolist():
                counts[tuple(pair)] += 1
    expected = [200 * int(degree[u]) / (7 - int(degree[u])) for u, _ in counts]
    assert chisquare(list(counts.values()), expected).pvalue > 1e-3


def batches(loader: LinkNeighborLoader) -> list[dict]:
    return [batch.to_dict() for batch in loader]


def assert_equal(left: object, right: object) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, list):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_equal(*pair)
    else:
        assert left == right


@pytest.fixture
def data() -> HeteroData:
    return make_graph(random_links(40, 50, 400, seed=0), 40, 50)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_batches_are_the_same_for_any_number_of_workers(data, num_workers):
    expected = batches(make_loader(data, [5, 3], batch_size=32, epoch=2))
    torch.manual_seed(num_workers)
    assert_equal(batches(make_loader(data, [5, 3], batch_size=32, epoch=2, num_workers=num_workers)), expected)


def test_batches_are_the_same_on_repeat_and_from_the_middle(data):
    loader = make_loader(data, [5, 3], batch_size=32)
    expected = batches(loader)
    loader.sampler.set_epoch(0)
    assert_equal(batches(loader), expected)
    fresh = make_loader(data, [5, 3], batch_size=32)
    links = list(fresh.sampler)[5 * 32 : 6 * 32]
    assert_equal(fresh(links).to_dict(), expected[5])


def test_epochs_and_seeds_differ(data):
    first, second, other = (
        batches(make_loader(data, [5, 3], batch_size=32, **options)) for options in ({}, {"epoch": 1}, {"seed": 1})
    )
    for different in (second, other):
        assert pairs(scored_dict(first)[1]) != pairs(scored_dict(different)[1])
        assert not torch.equal(first[0][RATES]["e_id"], different[0][RATES]["e_id"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_ordinary_loop_draws_other_negatives_in_each_epoch(data, num_workers):
    loader = make_loader(data, [5, 3], batch_size=32, num_workers=num_workers)
    passes = [batches(loader) for _ in range(3)]
    for epoch, found in enumerate(passes):
        assert_equal(found, batches(make_loader(data, [5, 3], batch_size=32, epoch=epoch)))
    drawn = [{pair for batch in found for pair in pairs(scored(HeteroData.from_dict(batch))[1])} for found in passes]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_a_loader_that_tells_no_epoch_is_told_so_once(data):
    loader = LinkNeighborLoader(
        data,
        [2],
        edge_label_index=(RATES, data[RATES].edge_index),
        neg_sampling=TWO_EACH,
        neighbor_sampler=make_sampler(data, [2]),
        batch_size=32,
        shuffle=True,
    )
    with pytest.warns(UserWarning, match="LinkOrder") as caught:
        assert len(batches(loader)) == 13
    assert len(caught) == 1


def follows(num_nodes: int, num_links: int, seed: int) -> HeteroData:
    """A graph in which both ends of a link are of one type, with a reverse type."""
    data = HeteroData()
    data["person"].node_id = torch.arange(num_nodes)
    data[FOLLOWS].edge_index = random_links(num_nodes, num_nodes, num_links, seed)
    data[FOLLOWED].edge_index = data[FOLLOWS].edge_index.flip(0)
    return data


FOLLOWS, FOLLOWED = ("person", "follows", "person"), ("person", "rev_follows", "person")


@settings(deadline=None)
@given(st.integers(3, 12), st.floats(0.1, 0.8), FAN_OUTS, st.sampled_from([FOLLOWED, None, FOLLOWS]), st.integers(0, 9))
def test_links_whose_ends_share_a_type(num_nodes, density, num_neighbors, reverse, seed):
    data = follows(num_nodes, max(1, int(density * num_nodes**2)), seed)
    if reverse == FOLLOWS:  # undirected: both directions are links of the one type
        del data[FOLLOWED]
        both = torch.cat([data[FOLLOWS].edge_index, data[FOLLOWS].edge_index.flip(0)], dim=1)
        data[FOLLOWS].edge_index = both.unique(dim=1)
    links = data[FOLLOWS].edge_index
    taken = {*pairs(links), *(pairs(links.flip(0)) if reverse == FOLLOWS else ()), *((n, n) for n in range(num_nodes))}
    assume(len(taken) < num_nodes**2)  # else there are no negatives to draw
    sampler = LinkNeighborSampler(data, num_neighbors, edge_type=FOLLOWS, rev_edge_type=reverse, seed=seed)
    loader = LinkNeighborLoader(
        data,
        num_neighbors,
        edge_label_index=(FOLLOWS, links),
        neg_sampling=TWO_EACH,
        neighbor_sampler=sampler,
        sampler=LinkOrder(links.size(1), 4, shuffle=True, sampler=sampler),
        batch_size=4,
    )
    visited = []
    for batch in loader:
        node_id = batch["person"].node_id
        assert node_id.unique().numel() == node_id.numel() == sum(batch["person"].num_sampled_nodes)
        ends = node_id[batch[FOLLOWS].edge_label_index]
        is_link = batch[FOLLOWS].edge_label > 0
        # The pairs that are scored are the links that were asked for, and true non-links.
        assert torch.equal(ends[:, is_link], links[:, batch[FOLLOWS].input_id])
        assert pairs(ends[:, ~is_link]).isdisjoint(taken)
        visited += ends[:, is_link].t().tolist()
        hidden = {FOLLOWS: pairs(ends[:, is_link])}
        if reverse is not None:
            hidden[reverse] = hidden.get(reverse, set()) | pairs(ends[:, is_link].flip(0))
        for edge_type in data.edge_types:
            sampled = pairs(node_id[batch[edge_type].edge_index])
            assert sampled <= pairs(data[edge_type].edge_index) - hidden.get(edge_type, set())
    assert sorted(visited) == sorted(links.t().tolist())


def test_times_are_refused_not_ignored(data):
    times = {"time_attr": "time", "edge_label_time": data[RATES].time}
    data[USER].time, data[MOVIE].time = torch.zeros(40, dtype=torch.int64), torch.zeros(50, dtype=torch.int64)
    loader = LinkNeighborLoader(
        data,
        [2],
        edge_label_index=(RATES, data[RATES].edge_index),
        neighbor_sampler=make_sampler(data, [2]),
        batch_size=8,
        **times,
    )
    with pytest.raises(ValueError, match="does not look at times"):
        next(iter(loader))


def scored_dict(found: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    return scored(HeteroData.from_dict(found[0]))


def test_persistent_workers_see_the_new_epoch(data):
    loader = make_loader(data, [5, 3], batch_size=32, num_workers=1)
    persistent = LinkNeighborLoader(
        loader.data,
        [5, 3],
        edge_label_index=(RATES, data[RATES].edge_index),
        neg_sampling=TWO_EACH,
        neighbor_sampler=loader.link_sampler,
        sampler=loader.sampler,
        batch_size=32,
        num_workers=1,
        persistent_workers=True,
    )
    for epoch in (0, 1, 2):
        loader.sampler.set_epoch(epoch)
        assert_equal(batches(persistent), batches(make_loader(data, [5, 3], batch_size=32, epoch=epoch)))
    persistent._iterator._shutdown_workers()  # else PyG's loader waits 5 seconds for its worker


def test_a_negative_depends_on_its_link_alone(data):
    """Two processes that share a batch together draw what one process draws."""
    whole = next(iter(make_loader(data, [2], batch_size=32)))
    negatives = scored(whole)[1]
    links = whole[RATES].input_id
    fresh = make_loader(data, [2], batch_size=32)
    halves = [fresh(half) for half in links.chunk(2)]
    first, second = (scored(half)[1] for half in halves)
    # Two rounds, one negative per link each.
    expected = [torch.cat([a, b], dim=1) for a, b in zip(first.chunk(2, dim=1), second.chunk(2, dim=1), strict=True)]
    assert torch.equal(torch.cat(expected, dim=1), negatives)


def test_labelled_links_exclude_the_positive_ones_only(data):
    links = data[RATES].edge_index[:, :2]
    sampler = make_sampler(data, [-1])
    loader = LinkNeighborLoader(
        data,
        [-1],
        edge_label_index=(RATES, links),
        edge_label=torch.tensor([1.0, 0.0]),
        neighbor_sampler=sampler,
        batch_size=2,
    )
    batch = next(iter(loader))
    assert batch[RATES].edge_label.tolist() == [1.0, 0.0]
    seen = pairs(global_edges(batch, RATES))
    assert tuple(links[:, 0].tolist()) not in seen
    assert tuple(links[:, 1].tolist()) in seen


@pytest.mark.parametrize("num_replicas", [2, 4])
def test_shares_of_a_batch_are_the_batch(data, num_replicas):
    """Links and negatives together are those of one process, and a node receives the same messages."""
    alone = make_loader(data, [3], batch_size=4 * num_replicas)
    shares = [
        make_loader(data, [3], batch_size=4, num_replicas=num_replicas, rank=rank) for rank in range(num_replicas)
    ]
    for batch, *parts in zip(alone, *shares, strict=True):
        assert sum((labels(part) for part in parts), Counter()) == labels(batch)
        sizes = {len(part[RATES].edge_label) for part in parts}
        assert len(sizes) == 1
        whole = {edge_type: pairs(global_edges(batch, edge_type)) for edge_type in (RATES, REV_RATES)}
        for part in parts:
            for edge_type in (RATES, REV_RATES):
                seeds = set(part[edge_type[-1]].node_id[: part[edge_type[-1]].num_sampled_nodes[0]].tolist())
                expected = {(sender, receiver) for sender, receiver in whole[edge_type] if receiver in seeds}
                assert pairs(global_edges(part, edge_type)) == expected


def labels(batch: HeteroData) -> Counter:
    user, movie = batch[RATES].edge_label_index
    nodes = batch[USER].node_id[user].tolist(), batch[MOVIE].node_id[movie].tolist()
    return Counter(zip(*nodes, batch[RATES].edge_label.tolist(), strict=True))


def test_node_loader(data):
    loader = NeighborLoader(
        data,
        [-1, -1],
        input_nodes=(USER, torch.tensor([3, 4])),
        neighbor_sampler=make_sampler(data, [-1, -1]),
        batch_size=2,
    )
    batch = next(iter(loader))
    assert batch[USER].node_id[:2].tolist() == [3, 4]
    expected = {pair for pair in pairs(data[REV_RATES].edge_index) if pair[1] in (3, 4)}
    assert pairs(global_edges(batch, REV_RATES, hop=0)) == expected


def test_what_is_not_supported_is_refused(data):
    for mode in (NegativeSampling("triplet", 1), NegativeSampling("binary", 1, dst_weight=torch.ones(50))):
        with pytest.raises(ValueError, match="uniform binary negatives only"):
            next(iter(make_loader(data, [1], neg_sampling=mode)))


def test_a_full_graph_has_no_negatives():
    full = make_graph(random_links(3, 4, 12, seed=0), 3, 4)
    with pytest.raises(ValueError, match="no negatives"):
        next(iter(make_loader(full, [1])))
    assert len(list(make_loader(full, [1], neg_sampling=None))) == 2


def test_fan_outs_by_edge_type(data):
    fan_outs = {RATES: [2, 0], REV_RATES: [0, 3]}
    for batch in make_loader(data, fan_outs, batch_size=4):
        assert batch[RATES].num_sampled_edges[0] > 0 == batch[RATES].num_sampled_edges[1]
        assert batch[REV_RATES].num_sampled_edges[0] == 0


def test_samplers_share_sorted_edges_until_those_are_written_to(data):
    first, second = make_sampler(data, [1]), make_sampler(data, [1])
    for name in first.colptr_dict:
        assert second.colptr_dict[name] is first.colptr_dict[name]
    changed = random_links(40, 50, 400, seed=1)
    data[RATES].edge_index.copy_(changed)
    data[REV_RATES].edge_index.copy_(changed.flip(0))
    assert_equal(batches(make_loader(data, [3, 3])), batches(make_loader(make_graph(changed, 40, 50), [3, 3])))


def test_sources_take_32_bits():
    sampler = make_sampler(make_graph(random_links(100, 100, 50, seed=0), 100, 100), [1])
    assert {row.dtype for row in sampler.row_dict.values()} == {torch.int32}
