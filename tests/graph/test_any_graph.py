"""The laws of split and sampler, over graphs of any kind."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import LinkNeighborLoader, NeighborLoader
from torch_geometric.sampler import NegativeSampling

from lightning_lp.errors import UserError
from lightning_lp.graph.links import without_messages
from lightning_lp.graph.loader import LinkLoader, link_loader
from lightning_lp.graph.order import LinkOrder
from lightning_lp.graph.sampler import LinkNeighborSampler
from lightning_lp.graph.split import LinkSplit, split_links
from tests.any_graphs import Case, cases, edges_between, fill
from tests.graph.test_sampler import assert_equal
from tests.graphs import pairs

STRATEGIES = st.sampled_from(["random", "temporal", "leave_last_out"])


def split(case: Case, strategy: str = "random", **given: Any) -> LinkSplit:
    """A split, or no test case where the graph is too small or too dense for it."""
    chosen = {"num_val": 0.2, "num_test": 0.15, "neg_sampling_ratio": 1.0, "time_attr": "edge_time"} | given
    try:
        return split_links(case.data, **case.types, strategy=strategy, **chosen)
    except UserError:
        assume(False)
        raise


def labelled(case: Case, graph: Data | HeteroData, label: int) -> torch.Tensor:
    store = case.store(graph)
    return store.edge_label_index[:, store.edge_label == label]


@given(cases(), STRATEGIES, st.sampled_from([0.0, 0.3]), st.sampled_from(["any", "of_source"]), st.integers(0, 9))
def test_split_laws(case, strategy, disjoint, non_links, seed):
    divided = split(case, strategy, disjoint_train_ratio=disjoint, non_links=non_links, seed=seed)
    everything = case.links(case.store(case.data).edge_index)
    train, val, test = (
        case.links(links)
        for links in (divided.train_links, labelled(case, divided.val, 1), labelled(case, divided.test, 1))
    )
    # The parts are disjoint and together the whole.
    assert train | val | test == everything
    assert len(train) + len(val) + len(test) == len(everything)
    assert divided.train_links.size(1) == len(train)
    # What carries messages where: all edges of a link or none, in both directions.
    supervision = case.links(case.store(divided.train).edge_label_index)
    messages = {"train": train - supervision if disjoint else train, "val": train, "test": train | val}
    for name, wanted in messages.items():
        graph = getattr(divided, name)
        assert case.links(case.store(graph).edge_index) == wanted
        if case.rev_edge_type:
            assert case.reverse(graph) == wanted
        for whole, store in zip(case.data.edge_stores, graph.edge_stores, strict=True):
            is_left = [pair is None or pair in wanted for pair in oriented(case, whole)]
            assert store.edge_uid.tolist() == [i for i, is_kept in enumerate(is_left) if is_kept]
    # Non-links are true ones; any ones are distinct over both parts, and as many as asked for.
    negatives = [labelled(case, graph, 0) for graph in (divided.val, divided.test)]
    found = case.links(torch.cat(negatives, dim=1))
    assert found.isdisjoint(everything)
    assert not case.has_one_node_type or all(src != dst for src, dst in found)
    if non_links == "any":
        assert [n.size(1) for n in negatives] == [len(val), len(test)]
        assert len(found) == len(val) + len(test)
        return
    for graph, neg in zip((divided.val, divided.test), negatives, strict=True):
        sources, of_links = neg[0].bincount(minlength=99), labelled(case, graph, 1)[0].bincount(minlength=99)
        assert (sources <= of_links).all()
        if strategy != "random":
            store, whole = case.store(graph), case.store(case.data)
            time, is_link = store.edge_label_time, store.edge_label > 0
            assert torch.equal(time[is_link], whole.edge_time[store.edge_label_id[is_link]])
            stand = {(int(s), int(t)) for s, t in zip(labelled(case, graph, 1)[0], time[is_link], strict=True)}
            assert {(int(s), int(t)) for s, t in zip(neg[0], time[~is_link], strict=True)} <= stand


def oriented(case: Case, store: Any) -> list[tuple[int, int] | None]:
    """The link of each edge of a type, None where it is of none."""
    if case.edge_type is None or store._key == case.edge_type:
        edges = store.edge_index
    elif store._key == case.rev_edge_type:
        edges = store.edge_index.flip(0)
    else:
        return [None] * store.num_edges
    return [(min(p), max(p)) if case.is_undirected else tuple(p) for p in edges.t().tolist()]


def assert_attributes_belong(whole: Any, store: Any) -> None:
    """What is known of each edge is what the whole graph knows of the edge with its number."""
    uid = store.edge_uid
    assert torch.equal(store.edge_time, whole.edge_time[uid])
    assert torch.equal(store.edge_attr, whole.edge_attr[uid])
    assert torch.equal(store.edge_index_of_my_own, whole.edge_index_of_my_own[:, uid])


@given(cases(), STRATEGIES, st.sampled_from([0.0, 0.3]), st.integers(0, 9))
def test_attributes_stay_with_their_edges_through_a_split(case, strategy, disjoint, seed):
    divided = split(case, strategy, disjoint_train_ratio=disjoint, seed=seed)
    for graph in (divided.train, divided.val, divided.test):
        for whole, store in zip(case.data.edge_stores, graph.edge_stores, strict=True):
            assert torch.equal(store.edge_index, whole.edge_index[:, store.edge_uid])
            assert store.edge_words == [whole.edge_words[i] for i in store.edge_uid]
            assert_attributes_belong(whole, store)
            if case.edge_type is not None and whole._key not in (case.edge_type, case.rev_edge_type):
                assert all(store[key] is whole[key] for key in whole)
        for whole, store in zip(case.data.node_stores, graph.node_stores, strict=True):
            assert store.node_id is whole.node_id
        # Labels name the edge that they speak of.
        store, whole = case.store(graph), case.store(case.data)
        is_link = store.edge_label > 0
        assert (store.edge_label_id[~is_link] == -1).all()
        named = whole.edge_index[:, store.edge_label_id[is_link]]
        wanted = store.edge_label_index[:, is_link]
        same = (named == wanted).all(0) | case.is_undirected & (named.flip(0) == wanted).all(0)
        assert same.all()
    assert getattr(divided.train, "name", "graph") == "graph" or isinstance(case.data, HeteroData)


@given(cases(), STRATEGIES, st.integers(0, 9))
def test_the_same_seed_gives_the_same_split_whatever_the_global_state(case, strategy, seed):
    first = split(case, strategy, seed=seed)
    torch.rand(3), np.random.random(3)
    assert split(case, strategy, seed=seed).fingerprint == first.fingerprint


@given(cases(), st.integers(0, 9))
def test_temporal_links_are_as_late_as_their_latest_edge(case, seed):
    divided = split(case, "temporal", seed=seed)
    times: dict[Any, int] = {}
    whole = case.store(case.data)
    for pair, time in zip(oriented(case, whole), whole.edge_time.tolist(), strict=True):
        times[pair] = max(time, times.get(pair, 0))
    train, val, test = (
        [times[pair] for pair in case.links(links)]
        for links in (divided.train_links, labelled(case, divided.val, 1), labelled(case, divided.test, 1))
    )
    assert max(train) <= min(val) <= max(val) <= min(test)
    store = case.store(divided.val)
    is_link = store.edge_label > 0
    assert sorted(whole.edge_time[store.edge_label_id[is_link]].tolist()) == sorted(val)


def train_loader(case: Case, divided: LinkSplit, num_neighbors: list[int], **options: Any) -> LinkLoader:
    graph = without_words(divided.train)
    return link_loader(
        graph,
        num_neighbors,
        **case.types,
        batch_size=4,
        positives=divided.train_links,
        neg_sampling=NegativeSampling("binary", 1.0),
        **options,
    )


def without_words(graph: Data | HeteroData) -> Data | HeteroData:
    """PyG's loaders select from tensors alone."""
    for store in graph.edge_stores:
        store.pop("edge_words", None)
    return graph


def in_the_whole(case: Case, batch: Data | HeteroData, local: torch.Tensor) -> torch.Tensor:
    """Pairs of local indices as those of the whole graph."""
    return torch.stack([store.node_id[end] for store, end in zip(case.ends(batch), local, strict=True)])


@settings(max_examples=60)
@given(
    cases(),
    st.lists(st.sampled_from([-1, 1, 3]), min_size=1, max_size=2),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 9),
)
def test_sampler_laws(case, num_neighbors, disjoint, seed):
    divided = split(case, disjoint_train_ratio=disjoint, seed=seed)
    train, visited = case.links(divided.train_links), []
    for batch in train_loader(case, divided, num_neighbors, seed=seed):
        store = case.store(batch)
        scored = in_the_whole(case, batch, store.edge_label_index)
        links, negatives = (scored[:, store.edge_label == label] for label in (1, 0))
        assert torch.equal(links, case.store(divided.train).edge_label_index[:, store.input_id])
        visited += links.t().tolist()
        # The links of a batch carry no message in it, in either direction.
        assert case.links(links).isdisjoint(case.links(in_the_whole(case, batch, store.edge_index)))
        if case.rev_edge_type:
            reverse = in_the_whole(case, batch, batch[case.rev_edge_type].edge_index.flip(0))
            assert case.links(links).isdisjoint(case.links(reverse))
        # Negatives are no training links.
        assert negatives.size(1) == links.size(1)
        assert case.links(negatives).isdisjoint(train)
        assert not case.has_one_node_type or (negatives[0] != negatives[1]).all()
        assert_batch_is_of(case, batch)
    assert sorted(visited) == sorted(case.store(divided.train).edge_label_index.t().tolist())


def assert_batch_is_of(case: Case, batch: Data | HeteroData) -> None:
    """Attributes belong to their nodes and edges, and no edge is there twice."""
    for store in batch.node_stores:
        value = store.x if isinstance(batch, Data) else store.own
        assert torch.equal(value[:, 0].long(), store.node_id)
        assert store.node_id.unique().numel() == store.num_nodes == sum(store.num_sampled_nodes)
    for whole, store in zip(case.data.edge_stores, batch.edge_stores, strict=True):
        ends = [batch.node_stores[0]] * 2 if isinstance(batch, Data) else [batch[t] for t in store._key[::2]]
        edges = torch.stack([end.node_id[local] for end, local in zip(ends, store.edge_index, strict=True)])
        assert torch.equal(edges, whole.edge_index[:, store.edge_uid])
        assert store.edge_uid.unique().numel() == store.edge_index.size(1) == sum(store.num_sampled_edges)
        assert_attributes_belong(whole, store)


@settings(max_examples=30)
@given(cases(), st.integers(0, 9))
def test_evaluation_visits_each_label_once_with_all_that_is_known(case, seed):
    divided = split(case, seed=seed)
    graph = without_words(divided.val)
    found = []
    for batch in link_loader(graph, [-1, -1], **case.types, batch_size=5):
        store = case.store(batch)
        found.append(torch.cat([in_the_whole(case, batch, store.edge_label_index), store.edge_label[None].long()]))
        assert_batch_is_of(case, batch)
    store = case.store(graph)
    assert torch.equal(torch.cat(found, dim=1), torch.cat([store.edge_label_index, store.edge_label[None].long()]))


@given(cases())
def test_without_messages_no_edge_is_left_and_every_node(case):
    graph = split(case).val
    bare = without_messages(graph)
    assert bare.num_edges == 0
    for before, after in zip(graph.node_stores, bare.node_stores, strict=True):
        assert after.num_nodes == before.num_nodes
    for store in bare.edge_stores:
        assert len(store.edge_uid) == len(store.edge_attr) == len(store.edge_words) == 0
    assert case.store(bare).edge_label_index is case.store(graph).edge_label_index
    assert graph.num_edges > 0
    for batch in link_loader(without_words(bare), [-1], **case.types, batch_size=100):
        assert batch.num_edges == 0


def citations(is_undirected: bool = False, num_nodes: int = 30) -> Case:
    rng = np.random.default_rng(0)
    links = edges_between(num_nodes, num_nodes, 100, rng)
    data = Data(node_id=torch.arange(num_nodes), x=torch.arange(num_nodes)[:, None].float())
    fill(data.edge_stores[0], torch.cat([links, links.flip(0)], dim=1) if is_undirected else links, rng)
    return Case(data, None, None, is_undirected)


def papers() -> Case:
    rng, data = np.random.default_rng(0), HeteroData()
    for node_type in ("author", "paper", "venue"):
        data[node_type].node_id, data[node_type].own = torch.arange(20), torch.arange(20)[:, None].float()
    for edge_type in (("author", "writes", "paper"), ("paper", "in", "venue"), ("venue", "of", "paper")):
        fill(data[edge_type], edges_between(20, 20, 100, rng), rng)
    written = data["author", "writes", "paper"].edge_index
    fill(data["paper", "by", "author"], written.flip(0)[:, torch.from_numpy(rng.permutation(100))], rng)
    return Case(data, ("author", "writes", "paper"), ("paper", "by", "author"), False)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("make", [citations, papers])
def test_batches_are_the_same_for_any_number_of_workers(make, num_workers):
    case = make()
    alone, workers = (train_loader(case, split(case), [5, 3], num_workers=n) for n in (0, num_workers))
    for _ in range(2):  # epochs
        assert_equal([batch.to_dict() for batch in workers], [batch.to_dict() for batch in alone])


@pytest.mark.parametrize("is_undirected", [False, True])
def test_a_homogeneous_graph_in_pygs_own_loaders(is_undirected):
    case = citations(is_undirected)
    without_words(case.data)
    sampler = LinkNeighborSampler(case.data, [-1, -1], is_undirected=is_undirected)
    links = case.data.edge_index
    order = LinkOrder(links.size(1), 8, shuffle=True, sampler=sampler)
    loader = LinkNeighborLoader(
        case.data,
        [-1, -1],
        edge_label_index=links,
        neg_sampling=NegativeSampling("binary", 2.0),
        neighbor_sampler=sampler,
        sampler=order,
        batch_size=8,
    )
    for batch in loader:
        assert_batch_is_of(case, batch)
    sampler = LinkNeighborSampler(case.data, [-1], is_undirected=is_undirected)
    nodes = NeighborLoader(case.data, [-1], input_nodes=torch.tensor([3]), neighbor_sampler=sampler, batch_size=1)
    batch = next(iter(nodes))
    assert pairs(batch.node_id[batch.edge_index]) == {pair for pair in pairs(links) if pair[1] == 3}


def test_both_directions_say_nothing_of_an_undirected_link():
    """Links and non-links are given in a random direction alike."""
    case = citations(is_undirected=True, num_nodes=40)
    split_ = split(case, num_val=0.4)
    for label in (0, 1):
        src, dst = labelled(case, split_.val, label)
        assert 0.25 < (src < dst).float().mean() < 0.75


def test_all_non_links_of_an_undirected_graph_can_be_drawn():
    data = Data(edge_index=torch.tensor([[0, 1, 1, 2, 3, 3], [1, 0, 2, 1, 3, 0]]), num_nodes=4)
    case = Case(data, None, None, True)
    shares = {"is_undirected": True, "num_val": 0.5, "num_test": 0.0, "disjoint_train_ratio": 0.0}
    divided = split_links(data, **shares, neg_sampling_ratio=1.5)
    assert case.links(labelled(case, divided.val, 0)) == {(0, 2), (1, 3), (2, 3)}
    assert divided.val.num_nodes == without_messages(divided.val).num_nodes == 4
    with pytest.raises(UserError, match="pairs of nodes without a `link`"):
        split_links(data, **shares, neg_sampling_ratio=2)


def test_a_number_of_nodes_that_edges_alone_tell_stays():
    data = Data(edge_index=edges_between(30, 30, 100, np.random.default_rng(0)))
    with pytest.warns(UserWarning, match="num_nodes"):
        divided = split_links(data)
    assert divided.train.num_nodes == divided.val.num_nodes == int(data.edge_index.max()) + 1


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({}, r"`edge_type` None: one of \[\('author', 'writes', 'paper'\)"),
        ({"edge_type": ("a", "b", "c")}, r"`edge_type` \('a', 'b', 'c'\): one of"),
        ({"edge_type": ("paper", "in", "venue"), "rev_edge_type": ("a", "b", "c")}, "`rev_edge_type` .* one of"),
        ({"edge_type": ("paper", "in", "venue"), "rev_edge_type": ("paper", "by", "author")}, "from venue to paper"),
        ({"edge_type": ("paper", "in", "venue"), "is_undirected": True}, "one from venue to paper wanted"),
        (
            {"edge_type": ("paper", "in", "venue"), "rev_edge_type": ("venue", "of", "paper"), "is_undirected": True},
            "none wanted where `is_undirected` is said",
        ),
        ({"edge_type": ("paper", "in", "venue"), "strategy": "last"}, "`strategy` last: one of"),
    ],
)
def test_edge_types_that_a_graph_does_not_have_are_refused(types, message):
    with pytest.raises(UserError, match=message):
        split_links(papers().data, **types)


def test_what_a_homogeneous_graph_cannot_tell_is_asked_for():
    case = citations()
    with pytest.raises(UserError, match="None wanted, as a Data has one edge type"):
        split_links(case.data, ("a", "b", "c"))
    with pytest.raises(UserError, match="have no source"):
        split_links(citations(True).data, is_undirected=True, strategy="leave_last_out", time_attr="edge_time")
    data = Data(x=torch.rand(50, 2), edge_index=edges_between(50, 50, 50, np.random.default_rng(0)))
    data.time = torch.arange(50)
    with pytest.raises(UserError, match="of 50 nodes and as many edges time may tell either"):
        split_links(data)
    data.edge_time = data.time
    del data.time
    uid = split_links(data, time_attr="edge_time", strategy="temporal", disjoint_train_ratio=0.0).train.edge_time
    assert torch.equal(uid, torch.arange(40))
