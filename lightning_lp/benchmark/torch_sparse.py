"""A process of its own: this project's sampler and torch-sparse's on the same links, in turn.

``python -m lightning_lp.benchmark.torch_sparse JSON``. Loading torch-sparse's operators changes what PyG samples with,
in the whole process.
"""

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling, NeighborSampler

from lightning_lp.benchmark.workload import seconds
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.sampler import LinkNeighborSampler
from lightning_lp.data.schema import RATES, REV_RATES

FAN_OUT = [20, 10]
_NUM_BATCHES = 20


def main(argument: dict[str, Any]) -> dict[str, float]:
    """Times both samplers. Returns seconds a batch, by name and batch size."""
    runpy.run_path(str(Path(argument["baseline"])))  # loads the operators
    data = MovieLensDataModule(**argument["data"])
    data.setup()
    samplers = {
        "ours": LinkNeighborSampler(data.split.train, FAN_OUT, edge_type=RATES, rev_edge_type=REV_RATES),
        "torch-sparse": NeighborSampler(data.split.train, FAN_OUT),
    }
    found = {}
    for batch_size in argument["batch_sizes"]:
        inputs = _batches(data, batch_size)
        for name, times in in_turn(samplers, inputs, argument["repeat"]).items():
            found[f"{name} {batch_size}"] = median(times[1:]) / len(inputs)
    return found


def in_turn(
    samplers: dict[str, NeighborSampler], inputs: Sequence[EdgeSamplerInput], repeat: int
) -> dict[str, list[float]]:
    """Seconds that each sampler takes for all inputs, ``repeat`` times after a first; two uniform negatives a link."""
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(repeat + 1):
        for name, sampler in samplers.items():

            def sample(sampler: NeighborSampler = sampler) -> None:
                for links in inputs:
                    sampler.sample_from_edges(links, NegativeSampling("binary", 2.0))

            times[name].append(seconds(sample))
    return times


def _batches(data: MovieLensDataModule, batch_size: int) -> list[EdgeSamplerInput]:
    """Batches of training links in random order."""
    links = data.split.train_links
    order = torch.randperm(links.size(1), generator=torch.Generator().manual_seed(0))
    return [
        EdgeSamplerInput(input_id=chosen, row=links[0, chosen], col=links[1, chosen], input_type=RATES)
        for chosen in torch.split(order, batch_size)[:_NUM_BATCHES]
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(json.loads(sys.argv[1]))))
