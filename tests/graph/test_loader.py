import gc
import time
import weakref
from pathlib import Path

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.sampler import NegativeSampling

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.graph.loader import LinkLoader, link_loader
from tests.graph.test_sampler import assert_equal
from tests.graph.test_sampler import batches as dictionaries
from tests.graphs import make_graph, random_links

BATCHES = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "movies"
    write_movielens(folder, num_users=20, num_movies=40, num_ratings=500, seed=0)
    return folder


def loader(root: Path, num_workers: int = 0) -> LinkLoader:
    data = MovieLensDataModule(root=str(root), batch_size=50, num_workers=num_workers)
    data.setup()
    return data.train_dataloader()


def labels(batches: LinkLoader, epoch: int) -> list[list[int]]:
    batches.sampler.set_epoch(epoch)
    return [batch[RATES].input_id.tolist() for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_goes_on_with_the_batch_after_the_last_one_handed_out(root, num_workers):
    wanted = {epoch: labels(loader(root), epoch) for epoch in (3, 4)}
    assert len(wanted[3]) == BATCHES
    for taken in (0, 1, 4, BATCHES - 1):
        stopped, again = loader(root, num_workers), loader(root)
        stopped.sampler.set_epoch(3)
        batches = iter(stopped)
        for _ in range(taken + 1):
            next(batches)
        again.load_state_dict(stopped.state_dict())
        assert labels(again, 3) == wanted[3][taken:]  # the batch under way comes again
        assert labels(again, 4) == wanted[4]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_and_its_workers_end_as_soon_as_it_is_let_go(root, num_workers):
    gc.disable()
    try:
        batches = loader(root, num_workers)
        under_way, known = iter(batches), weakref.ref(batches)
        next(under_way)
        workers = list(batches._iterator._workers) if num_workers else []
        assert all(worker.is_alive() for worker in workers)
        start = time.perf_counter()
        del batches, under_way
        assert known() is None
        assert not any(worker.is_alive() for worker in workers)
        assert time.perf_counter() - start < 4
    finally:
        gc.enable()


def test_the_place_in_another_epoch_says_nothing(root):
    batches = loader(root)
    batches.load_state_dict({"epoch": 1, "batch": 5})
    assert labels(batches, 2) == labels(loader(root), 2)


def test_a_loader_leaves_the_global_random_numbers_to_the_model(root):
    state = torch.get_rng_state()
    labels(loader(root), 0)
    assert torch.get_rng_state().equal(state)


def test_before_its_first_batch_a_loader_stands_at_the_beginning(root):
    batches, again = loader(root), loader(root)
    assert batches.state_dict() == {"epoch": 0, "batch": 0}
    again.load_state_dict(batches.state_dict())
    assert labels(again, 0) == labels(batches, 0)


# What each part of the split is given


@pytest.fixture
def graph() -> HeteroData:
    """60 labels, in no order, of which every third is a link."""
    graph = make_graph(random_links(20, 30, 160, seed=0), 20, 30)
    graph[RATES].edge_label_index = random_links(20, 30, 60, seed=1).flip(1)
    graph[RATES].edge_label = torch.arange(60).remainder(3).eq(0).float()
    return graph


def make(graph: HeteroData, train: bool, batch_size: int = 8, **options: object) -> LinkLoader:
    return link_loader(
        graph,
        {RATES: [2, 2], REV_RATES: [2, 2]},
        edge_type=RATES,
        rev_edge_type=REV_RATES,
        batch_size=batch_size,
        exclude_seed_links=True,
        neg_sampling=NegativeSampling("binary", 1.0) if train else None,
        **options,
    )


def test_processes_evaluate_the_batches_of_one(graph):
    alone = make(graph, train=False)
    assert torch.cat([batch[RATES].edge_label for batch in alone]).equal(graph[RATES].edge_label)
    ids = torch.cat(
        [
            torch.stack([b[t].node_id[i] for t, i in zip((USER, MOVIE), b[RATES].edge_label_index, strict=True)])
            for b in alone
        ],
        dim=1,
    )
    assert ids.equal(graph[RATES].edge_label_index)
    for rank in (0, 1):
        part = make(graph, train=False, num_replicas=2, rank=rank)
        assert_equal(dictionaries(part), dictionaries(alone)[rank::2])


def test_processes_train_on_shares_of_the_batches_of_one(graph):
    whole = [batch[RATES].input_id for batch in make(graph, train=True, batch_size=16)]
    parts = [[batch[RATES].input_id for batch in make(graph, train=True, num_replicas=2, rank=r)] for r in (0, 1)]
    assert_equal([torch.cat(pair) for pair in zip(*parts, strict=True)], whole)
    assert whole[0].tolist() != sorted(whole[0].tolist())


@pytest.mark.parametrize("train", [True, False])
def test_one_process_with_seed_0_is_the_default(graph, train):
    given = make(graph, train, seed=0, num_workers=0, num_replicas=1, rank=0)
    default = make(graph, train)
    assert default.num_workers == 0
    assert make(graph, train, num_workers=1).persistent_workers
    assert_equal(dictionaries(default), dictionaries(given))


def test_a_loader_copies_no_labels(graph):
    batches = make(graph, train=True)
    assert batches.input_data.row.data_ptr() == graph[RATES].edge_label_index.data_ptr()


@pytest.mark.parametrize("names", [None, ("time",), ()])
def test_batches_hold_the_attributes_that_were_asked_for(graph, names):
    graph[USER].degree = torch.arange(20)
    graph[REV_RATES].weight = torch.rand(160, 2)
    for batch in make(graph, train=True, edge_attrs=names):
        assert batch[USER].degree.equal(batch[USER].node_id)
        assert ("time" in batch[RATES], "weight" in batch[REV_RATES]) == (names != (), names is None)
        for edge_type, key in ((RATES, "time"), (REV_RATES, "weight")):
            if key in batch[edge_type]:
                assert batch[edge_type][key].equal(graph[edge_type][key][batch[edge_type].e_id])


def test_attributes_that_no_edge_has_are_refused(graph):
    with pytest.raises(UserError, match=r"`edge_attrs` \['weight'\]: some of \['time'\] wanted"):
        make(graph, train=True, edge_attrs=["weight"])


def test_the_data_module_hands_out_no_more_than_the_model_reads(root):
    data = MovieLensDataModule(root=str(root), batch_size=50)
    for batch in data_batches(data):
        degree = torch.bincount(data.split.train_links[0], minlength=data.num_users)
        assert batch[USER].degree.equal(degree[batch[USER].node_id])
        assert "terms" not in batch[MOVIE]
        assert not {"time", "rating"} & {*batch[RATES], *batch[REV_RATES]}
    assert "degree" not in next(iter(data.val_dataloader()))[USER]


def data_batches(data: MovieLensDataModule) -> LinkLoader:
    data.setup()
    return data.train_dataloader()
