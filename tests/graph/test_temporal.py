"""Sampling by time: the laws, over graphs of any kind, and what is refused."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import LinkNeighborLoader, NeighborLoader
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling, NodeSamplerInput

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.errors import UserError
from lightning_lp.graph.loader import LinkLoader, link_loader
from lightning_lp.graph.sampler import LinkNeighborSampler
from tests.any_graphs import Case
from tests.graph.temporal_reference import TIME, Reference, has_negatives, taken, temporal_cases, trees
from tests.graph.test_any_graph import citations, papers
from tests.graph.test_sampler import assert_equal, batches
from tests.graphs import make_graph, pairs, random_links

FAN_OUTS = st.lists(st.sampled_from([-1, 0, 1, 3]), min_size=1, max_size=3)
STRATEGIES = st.sampled_from(["uniform", "last"])
TWO_EACH = NegativeSampling("binary", 2.0)


def loader(case: Case, num_neighbors: list[int], train: bool = True, batch_size: int = 5, **options: Any) -> LinkLoader:
    negatives = TWO_EACH if train and has_negatives(case) else None
    chosen = {"time_attr": TIME, "neg_sampling": negatives, "batch_size": batch_size} | options
    return link_loader(case.data, num_neighbors, **case.types, **chosen)


@settings(max_examples=80)
@given(temporal_cases(), FAN_OUTS, STRATEGIES, st.booleans(), st.booleans(), st.integers(0, 9))
def test_no_message_is_of_the_future_and_those_of_the_past_are_as_asked_for(
    case, num_neighbors, strategy, train, exclude, seed
):
    reference, visited = Reference(case, num_neighbors, strategy, exclude), []
    options = {"temporal_strategy": strategy, "exclude_seed_links": exclude, "seed": seed}
    for batch in loader(case, num_neighbors, train, **options):
        reference.check(batch)
        visited += case.store(batch).input_id.tolist()
    assert sorted(visited) == list(range(case.store(case.data).edge_label.numel()))


@settings(max_examples=50)
@given(temporal_cases(), st.integers(0, 9))
def test_a_negative_has_the_source_of_its_link_and_is_none(case, seed):
    assume(has_negatives(case))
    for batch in loader(case, [2], seed=seed):
        store = case.store(batch)
        src, dst = (e.node_id[local] for e, local in zip(case.ends(batch), store.edge_label_index, strict=True))
        links, size = src[: len(store.input_id)], len(store.input_id)
        assert torch.equal(src, links.repeat(3))
        for u, v in zip(src[size:].tolist(), dst[size:].tolist(), strict=True):
            assert v not in taken(case, u)


@settings(max_examples=40)
@given(temporal_cases(), FAN_OUTS, STRATEGIES, st.integers(0, 9))
def test_a_tree_depends_on_its_link_alone_and_shares_are_the_batch(case, num_neighbors, strategy, seed):
    assume(has_negatives(case))
    options = {"temporal_strategy": strategy, "seed": seed}
    alone, together = {}, {}
    for batch in loader(case, num_neighbors, **options, batch_size=6):
        alone |= trees(case, batch)
    shares = [loader(case, num_neighbors, **options, batch_size=3, num_replicas=2, rank=rank) for rank in (0, 1)]
    for parts in zip(*shares, strict=True):
        for part in parts:
            together |= trees(case, part)
    assert together == {link: alone[link] for link in together}
    assert len(together) >= len(alone) - 1
    for batch in islice(loader(case, num_neighbors, **options, batch_size=1), 5):
        ((link, tree),) = trees(case, batch).items()
        assert tree == alone[link]


def with_labels(case: Case) -> Case:
    store = case.store(case.data)
    for edges in case.data.edge_stores:
        edges.pop("edge_words", None)
    store.edge_label_index, store.edge_label = store.edge_index, torch.ones(store.edge_index.size(1))
    store.edge_label_time = store[TIME]
    return case


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["uniform", "last"])
@pytest.mark.parametrize("make", [citations, papers])
def test_batches_are_the_same_for_any_number_of_workers(make, strategy):
    case = with_labels(make())
    alone, workers = (loader(case, [3, 2], temporal_strategy=strategy, num_workers=n) for n in (0, 2))
    passes = []
    for _ in range(2):  # epochs
        passes.append([batch.to_dict() for batch in alone])
        assert_equal([batch.to_dict() for batch in workers], passes[-1])
    # Another epoch has other negatives and another order.
    alone.sampler.set_epoch(0)
    assert_equal([batch.to_dict() for batch in alone], passes[0])
    first, second = (
        {k: v for batch in p for k, v in trees(case, type(case.data).from_dict(batch)).items()} for p in passes
    )
    assert first.keys() == second.keys()
    assert any(first[link][1] != second[link][1] for link in first)
    assert any(first[link][2] != second[link][2] for link in first) or strategy == "last"


def test_a_batch_may_hold_many_trees():
    case = with_labels(papers())
    (whole,) = (trees(case, batch) for batch in loader(case, [-1, -1], batch_size=100))
    assert len(whole) == 100
    apart = [trees(case, batch) for batch in loader(case, [-1, -1], batch_size=1)]
    assert whole == {link: tree for found in apart for link, tree in found.items()}
    assert sum(len(messages) for tree in whole.values() for messages in tree[2]) > 5_000


@pytest.mark.parametrize("scale", [10**17, -1, 4 * 10**17])
def test_the_scale_of_times_says_nothing(scale):
    """Nanoseconds, too, and times before 1970: their span times the number of nodes is more than 64 bits hold."""
    case, other = with_labels(papers()), with_labels(papers())
    for store in other.data.edge_stores:
        store[TIME] = (store[TIME] - 10) * abs(scale) if scale > 0 else store[TIME] - 10**6
    other = with_labels(other)
    for left, right in zip(loader(case, [3, 2]), loader(other, [3, 2]), strict=True):
        assert trees(case, left) == trees(other, right)


def star(num_leaves: int) -> Data:
    """Nodes 1, 2, ... that send node 0 a message each, at the time of their number."""
    leaves = torch.arange(1, num_leaves + 1)
    return Data(edge_index=torch.stack([leaves, torch.zeros_like(leaves)]), when=leaves, num_nodes=num_leaves + 1)


def ask(sampler: LinkNeighborSampler, node: list[int], time: list[int]) -> Any:
    return sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor(node), torch.tensor(time)))


def test_every_earlier_neighbour_is_as_likely_and_so_is_every_pair():
    sampler, counts = LinkNeighborSampler(star(20), [4], time_attr="when"), np.zeros((20, 20))
    for epoch in range(150):
        sampler.set_epoch(epoch)
        out = ask(sampler, [0] * 20, list(range(12, 32)))  # trees of other times draw by themselves
        for tree in range(20):
            of_tree = out.batch[out.col] == tree
            found = out.node[out.row[of_tree]].numpy() - 1
            if tree == 0:
                counts[np.ix_(found, found)] += 1
            assert len(found) == 4
            assert (found < 11 + tree).all()
            assert (np.diff(found) > 0).all()
    assert counts[11:].sum() == 0
    assert chisquare(np.diag(counts)[:11]).pvalue > 1e-3
    assert chisquare(counts[:11, :11][np.triu_indices(11, k=1)]).pvalue > 1e-3


def test_trees_and_their_nodes_draw_by_themselves():
    leaves, zeros = torch.arange(2, 22), torch.zeros(20, dtype=torch.int64)
    ends = [torch.stack([leaves, zeros]), torch.stack([leaves, zeros + 1])]
    data = Data(edge_index=torch.cat(ends, dim=1), when=leaves.repeat(2), num_nodes=22)
    sampler = LinkNeighborSampler(data, [4], time_attr="when")
    out = sampler.sample_from_edges(EdgeSamplerInput(torch.arange(20), zeros, zeros + 1, time=zeros + 100))
    tree, node = out.batch[out.col], out.node[out.col]
    heard = {tuple(out.node[out.row[(tree == t) & (node == n)]].tolist()) for t in range(20) for n in (0, 1)}
    assert len(heard) > 35


def test_many_neighbours_are_distinct_and_in_order():
    sampler = LinkNeighborSampler(star(500), [200], time_attr="when")
    out = ask(sampler, [0], [401])
    found = out.node[out.row] - 1
    assert len(found) == 200
    assert (found.diff() > 0).all()
    assert 0 <= found[0] < 50
    assert 350 < found[-1] < 400


def test_negatives_are_uniform_over_the_others_of_their_source():
    data = make_graph(random_links(6, 30, 60, seed=0), 6, 30)
    data[REV_RATES].time = data[RATES].time
    data[RATES].edge_label_index, data[RATES].edge_label_time = data[RATES].edge_index, data[RATES].time
    counts = {user: np.zeros(30) for user in range(6)}
    kind = {"edge_type": RATES, "rev_edge_type": REV_RATES, "time_attr": "time"}
    batches_of = link_loader(data, [1], **kind, batch_size=60, neg_sampling=NegativeSampling("binary", 4.0))
    for _ in range(30):
        for batch in batches_of:
            user, movie = batch[RATES].edge_label_index[:, batch[RATES].edge_label == 0]
            for u, m in zip(batch[USER].node_id[user].tolist(), batch[MOVIE].node_id[movie].tolist(), strict=True):
                counts[u][m] += 1
    for user, count in counts.items():
        known = data[RATES].edge_index[1][data[RATES].edge_index[0] == user]
        assert count[known].sum() == 0
        assert chisquare(np.delete(count, known)).pvalue > 1e-3


def test_given_positives_are_no_negatives_and_others_are():
    data = make_graph(torch.tensor([[0, 0], [0, 1]]), 1, 6)
    data[REV_RATES].time = data[RATES].time
    data[RATES].edge_label_index, data[RATES].edge_label_time = data[RATES].edge_index, data[RATES].time
    kind = {"edge_type": RATES, "rev_edge_type": REV_RATES, "time_attr": "time", "batch_size": 2}
    positives = torch.tensor([[0, 0, 0, 0], [3, 0, 1, 3]])
    batches_of = link_loader(data, [1], **kind, positives=positives, neg_sampling=TWO_EACH)
    drawn = [
        set(batch[MOVIE].node_id[batch[RATES].edge_label_index[1, 2:]].tolist())
        for _ in range(9)
        for batch in batches_of
    ]
    assert set().union(*drawn) == {2, 4, 5}


@given(temporal_cases(), FAN_OUTS, STRATEGIES, st.integers(0, 9))
@settings(max_examples=50)
def test_nodes_hear_what_was_before_their_time(case, num_neighbors, strategy, seed):
    """PyG's loader of nodes: those in question come first, and each has a tree of its own."""
    graph, node_type = case.data, None if case.edge_type is None else case.edge_type[-1]
    sampler = LinkNeighborSampler(
        graph, num_neighbors, **case.types, time_attr=TIME, temporal_strategy=strategy, seed=seed
    )
    node = torch.randint(6, (8,), generator=torch.Generator().manual_seed(seed))
    time = torch.arange(8) * 3
    store = case.store(graph)
    for key in ("edge_label_index", "edge_label", "edge_label_time"):
        del store[key]
    nodes = node if node_type is None else (node_type, node)
    reference = Reference(case, num_neighbors, strategy, exclude=False)
    for batch in NeighborLoader(
        graph, num_neighbors, nodes, time, neighbor_sampler=sampler, time_attr=TIME, batch_size=3
    ):
        seeds = batch.node_stores[0] if node_type is None else batch[node_type]
        size = seeds.batch_size
        assert torch.equal(seeds.node_id[:size], node[seeds.input_id])
        assert seeds.batch[:size].tolist() == list(range(size))
        assert torch.equal(seeds.seed_time, time[seeds.input_id])
        link_of = [(-1, -1, moment, 0.0) for moment in seeds.seed_time.tolist()]
        for edges, everything in zip(batch.edge_stores, graph.edge_stores, strict=True):
            reference.check_edges(batch, edges, everything, link_of)


def test_the_latest_come_first_and_of_ties_those_of_the_last_sources():
    data = Data(
        edge_index=torch.tensor([[4, 1, 3, 2, 5], [0, 0, 0, 0, 0]]), when=torch.tensor([7, 7, 7, 2, 9]), num_nodes=6
    )
    sampler = LinkNeighborSampler(data, [2], time_attr="when", temporal_strategy="last")
    out = ask(sampler, [0, 0, 0, 0], [8, 7, 10, 2])
    found = [out.node[out.row[out.batch[out.col] == tree]].tolist() for tree in range(4)]
    assert found == [[3, 4], [2], [4, 5], []]
    assert out.num_sampled_nodes == [4, 5]


def test_pyg_hands_the_batch_what_its_own_sampler_would():
    case = with_labels(papers())
    store, key = case.store(case.data), case.edge_type
    sampler = LinkNeighborSampler(case.data, [3], **case.types, time_attr=TIME)
    assert sampler.is_temporal
    assert sampler.disjoint
    links, time = store.edge_label_index, store.edge_label_time
    times = {"edge_label_time": time, "time_attr": TIME}
    for batch in LinkNeighborLoader(
        case.data, [3], edge_label_index=(key, links), neighbor_sampler=sampler, batch_size=7, **times
    ):
        assert torch.equal(batch[key].edge_label_time, time[batch[key].input_id])
        local = batch[key].edge_label_index
        assert all(
            torch.equal(batch[t].batch[end], torch.arange(len(end))) for t, end in zip(key[::2], local, strict=True)
        )
        hidden = pairs(links[:, batch[key].input_id])
        assert len(hidden) == len(batch[key].input_id)


def test_batches_need_not_hold_the_times():
    case = with_labels(papers())
    batch = next(iter(loader(case, [3], edge_attrs=["edge_uid"])))
    assert TIME not in case.store(batch)
    assert TIME in case.store(case.data)


def test_a_graph_is_sorted_by_time_once_until_it_is_written_to():
    case = with_labels(papers())
    first, second = (LinkNeighborSampler(case.data, [1], **case.types, time_attr=TIME) for _ in range(2))
    plain = LinkNeighborSampler(case.data, [1], **case.types)
    for name in first.colptr_dict:
        assert second.row_dict[name] is first.row_dict[name]
        assert plain.row_dict[name] is not first.row_dict[name]
    store = case.store(case.data)
    store[TIME].mul_(-1)
    changed = LinkNeighborSampler(case.data, [1], **case.types, time_attr=TIME)
    name = changed.to_rel_type[case.edge_type]
    assert not torch.equal(changed.edge_time[name], first.edge_time[name])
    store[TIME] = store[TIME] * 2  # another tensor
    again = LinkNeighborSampler(case.data, [1], **case.types, time_attr=TIME)
    assert torch.equal(again.edge_time[name], changed.edge_time[name] * 2)


def refused(data: Data | HeteroData, message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        LinkNeighborSampler(data, [1], **options)


def test_what_cannot_be_sampled_by_time_is_refused():
    data = make_graph(random_links(5, 5, 9, seed=0), 5, 5)
    kind = {"edge_type": RATES, "rev_edge_type": REV_RATES}
    refused(data, "seen through the other: give it to both", **kind, time_attr="time")
    refused(
        data, "`time_attr` when: an attribute of edges or of the nodes they come from wanted", **kind, time_attr="when"
    )
    refused(data, "`temporal_strategy` last: needs times", **kind, temporal_strategy="last")
    refused(
        data, "`temporal_strategy` first: one of uniform, last", **kind, time_attr="time", temporal_strategy="first"
    )
    for wrong, found in (
        (torch.rand(9), r"torch.float32 \[9\]"),
        (torch.zeros(9, 1, dtype=torch.int64), r"torch.int64 \[9, 1\]"),
        ([1] * 9, "got list"),
    ):
        data[RATES].time = data[REV_RATES].time = wrong
        refused(data, f"a tensor of 9 whole numbers wanted, .*{found}", **kind, time_attr="time")


def test_times_of_links_and_of_messages_come_together():
    case = with_labels(papers())
    timed, plain = (LinkNeighborSampler(case.data, [1], **case.types, time_attr=t) for t in (TIME, None))
    links = (case.edge_type, case.data[case.edge_type].edge_index)
    times = {"time_attr": TIME, "edge_label_time": case.store(case.data).edge_label_time}
    for sampler, given_times, message in (
        (timed, {}, "needs edge_label_time"),
        (plain, times, "does not look at times without time_attr"),
        (timed, times | {"edge_label_time": torch.rand(100)}, "whole numbers wanted, .* got torch.float32"),
    ):
        other = LinkNeighborLoader(case.data, [1], links, neighbor_sampler=sampler, batch_size=9, **given_times)
        with pytest.raises(ValueError, match=message):
            next(iter(other))
    with pytest.raises(ValueError, match="needs input_time"):
        timed.sample_from_nodes(NodeSamplerInput(None, torch.tensor([0]), None, "author"))
    del case.store(case.data).edge_label_time
    with pytest.raises(UserError, match="labels have no edge_label_time"):
        loader(case, [1])


def test_without_time_attr_a_split_by_time_is_loaded_as_before():
    case, other = with_labels(papers()), with_labels(papers())
    del other.store(other.data).edge_label_time
    assert_equal(*(batches(loader(c, [3, 2], time_attr=None)) for c in (case, other)))


def test_a_source_with_links_to_all_has_no_negatives():
    """It is the first of two; the links of the second have two negatives each."""
    data = make_graph(torch.tensor([[0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 0, 2]]), 2, 4)
    data[REV_RATES].time = data[RATES].time
    data[RATES].edge_label_index, data[RATES].edge_label_time = data[RATES].edge_index, data[RATES].time
    kind = {"edge_type": RATES, "rev_edge_type": REV_RATES, "time_attr": "time"}
    for batch in link_loader(data, [1], **kind, batch_size=6, neg_sampling=TWO_EACH):
        (user, movie), label, time = (
            batch[RATES].edge_label_index,
            batch[RATES].edge_label,
            batch[RATES].edge_label_time,
        )
        of, what = batch[USER].node_id[user], batch[MOVIE].node_id[movie]
        assert torch.bincount(of[label == 0], minlength=2).tolist() == [0, 4]
        assert set(what[label == 0].tolist()) <= {1, 3}
        assert sorted(time[label == 0].tolist()) == [4, 4, 5, 5]
        assert len(label) == len(time) == user.numel() == 10
