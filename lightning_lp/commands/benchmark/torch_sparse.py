"""A process of its own: this project's sampler and torch-sparse's on the same links, in turn.

``python -m lightning_lp.commands.benchmark.torch_sparse JSON``. Loading torch-sparse's operators changes what PyG
samples with, in the whole process.
"""

import json
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling, NeighborSampler

from lightning_lp.commands.benchmark.workload import seconds
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.graph.sampler import LinkNeighborSampler

FAN_OUT = [20, 10]
NEGATIVES = NegativeSampling("binary", 2.0)
_NUM_BATCHES = 20


def main(argument: dict[str, Any]) -> dict[str, dict[int, list[float]]]:
    """Times both samplers, alone and as parts of a loader; two uniform negatives a link.

    Returns:
        By what is measured and batch size: seconds a batch of ours and of torch-sparse's.
    """
    runpy.run_path(argument["baseline"])  # loads the operators
    data = MovieLensDataModule(**argument["data"])
    data.setup()
    graph, links = data.split.train, data.split.train_links
    links = links[:, torch.randperm(links.size(1), generator=torch.Generator().manual_seed(0))]
    samplers = (
        LinkNeighborSampler(graph, FAN_OUT, edge_type=RATES, rev_edge_type=REV_RATES),
        NeighborSampler(graph, FAN_OUT),
    )
    found: dict[str, dict[int, list[float]]] = {"sampling": {}, "whole batch": {}}
    for size in argument["batch_sizes"]:
        chosen = links[:, : size * _NUM_BATCHES]
        num_batches = -(-chosen.size(1) // size)
        for what, work in (("sampling", _sample), ("whole batch", _load)):
            works = [partial(work, sampler, graph, chosen, size) for sampler in samplers]
            found[what][size] = [spent / num_batches for spent in in_turn(works, argument["repeat"])]
    return found


def in_turn(works: Sequence[Callable[[], None]], repeat: int) -> list[float]:
    """Median time of each, all of them called in turn; a first round does not count."""
    rounds = [[seconds(work) for work in works] for _ in range(repeat + 1)]
    return [median(times) for times in zip(*rounds[1:], strict=True)]


def _sample(sampler: NeighborSampler, graph: HeteroData, links: Tensor, size: int) -> None:
    """Calls the sampler alone."""
    for i, (row, col) in enumerate(zip(*(torch.split(ends, size) for ends in links), strict=True)):
        number = torch.arange(i * size, i * size + row.numel())
        sampler.sample_from_edges(EdgeSamplerInput(number, row, col, input_type=RATES), NEGATIVES)


def _load(sampler: NeighborSampler, graph: HeteroData, links: Tensor, size: int) -> None:
    """Makes batches of it, as training does."""
    for _ in LinkNeighborLoader(
        graph,
        FAN_OUT,
        edge_label_index=(RATES, links),
        neg_sampling=NEGATIVES,
        neighbor_sampler=sampler,
        batch_size=size,
    ):
        pass


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(json.loads(sys.argv[1]))))
