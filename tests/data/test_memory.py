"""What the data takes in memory, per link."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import HeteroData

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.data.sources.synthetic import write_movielens

NUM_LINKS = 60_000
PEAK = """
import sys
from pathlib import Path
from lightning_lp.data.rating_graph import build_graph
from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.graph.split import split_links
from lightning_lp.data.tables import read_tables

def gauge(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) * 1024

for root in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = gauge("VmRSS")
    graph = build_graph(read_tables(root))
    split = split_links(graph.data, RATES, REV_RATES, disjoint_train_ratio=0.0)
    print(gauge("VmHWM") - before)
    del graph, split
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MovieLensDataModule:
    root = tmp_path_factory.mktemp("memory") / "data"
    write_movielens(root, num_users=400, num_movies=500, num_ratings=NUM_LINKS)
    data = MovieLensDataModule(str(root))
    data.setup()
    return data


def tensors(held: Any) -> Iterator[torch.Tensor]:
    """All tensors in graphs, samplers and containers of them."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, HeteroData):
        yield from tensors([store.values() for store in held.stores])
    elif isinstance(held, dict):
        yield from tensors(held.values())
    elif not isinstance(held, str) and hasattr(held, "__iter__"):
        for part in held:
            yield from tensors(part)


def bytes_per_link(*held: Any) -> float:
    """Each piece of memory counts once, however many tensors show it."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(held)}
    return sum(storages.values()) / NUM_LINKS


def test_links_and_their_reverses_share_their_attributes(data):
    for graph in (data.graph.data, data.split.train, data.split.test):
        stores = [graph[edge_type] for edge_type in (RATES, REV_RATES)]
        assert bytes_per_link([[store.rating, store.time] for store in stores]) == 12 * stores[0].num_edges / NUM_LINKS
        for key, dtype in (("rating", torch.float32), ("time", torch.int64)):
            assert [store[key].dtype for store in stores] == [dtype, dtype]


def test_a_graph_holds_three_rows_for_links_and_their_reverses(data):
    edges = [data.graph.data[edge_type].edge_index for edge_type in (RATES, REV_RATES)]
    assert torch.equal(edges[0].flip(0), edges[1])
    assert bytes_per_link(edges) == 3 * 8


def test_training_and_validation_share_their_messages(data):
    split = data.split
    alone, together = bytes_per_link(split.train), bytes_per_link(split.train, split.val, split.train_links)
    assert together - alone == pytest.approx(
        0.1 * 3 * (2 * 8 + 4 + 4), rel=0.01
    )  # validation's links, non-links, labels and which edges they are
    samplers = [loader.link_sampler for loader in (data.train_dataloader(), data.val_dataloader())]
    avoided = [sampler._negatives._avoided for sampler in samplers]
    pairs = [(s.colptr_dict, s.row_dict, s.perm, a.colptr, a.row) for s, a in zip(samplers, avoided, strict=True)]
    assert bytes_per_link(pairs[0]) == bytes_per_link(*pairs)
    # A user, a movie, and the place of a link among those sorted by movie; a tenth is for the pointers.
    assert bytes_per_link(pairs[0]) < 0.8 * (4 + 4 + 8) * 1.1


def test_samplers_sort_anew_what_was_written_to(data):
    before = data.train_dataloader().link_sampler
    edge_index = data.split.train[RATES].edge_index.clone()
    data.split.train[RATES].edge_index.add_(0)
    assert torch.equal(data.split.train[RATES].edge_index, edge_index)
    after = data.train_dataloader().link_sampler
    name = "__".join(RATES)
    assert after.row_dict[name] is not before.row_dict[name]
    assert torch.equal(after.row_dict[name], before.row_dict[name])


@pytest.mark.slow
def test_peak_of_reading_and_splitting(tmp_path):
    """In a process of its own, the first time with few links, so that what is loaded once does not count.

    It takes 140 bytes; the links' four columns take 32 of them, the graph and its split 75.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux")
    num_links = 2_000_000
    write_movielens(tmp_path / "small", num_users=300, num_movies=500, num_ratings=20_000)
    write_movielens(tmp_path / "large", num_users=13_000, num_movies=15_000, num_ratings=num_links)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[1]) / num_links < 160
