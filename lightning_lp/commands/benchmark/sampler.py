"""How many links and messages a second are sampled, alone and beside torch-sparse's sampler."""

import gc
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import islice
from statistics import median

from torch_geometric.data import HeteroData
from torch_geometric.sampler import NegativeSampling

from lightning_lp.commands.benchmark.workload import Figure, Workload, run_module, seconds
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.errors import require
from lightning_lp.graph.loader import LinkLoader, link_loader

BATCH_SIZES = (128, 1024, 8192)
FAN_OUTS = ((20, 10), (10, 5))
WORKERS = (0, 2)
BESIDE = (128, 1024)
"""Batch sizes at which torch-sparse's sampler runs, and ours by time."""
_MAX_BATCHES = 50


def sampler(workload: Workload) -> Iterator[Figure]:
    """Whole batches, as training takes them, by batch size, fan-out and workers; then both samplers by themselves.

    Where links have times, batches by time, too: each link has a neighbourhood of its own then, of earlier messages.

    Raises:
        UserError: torch-sparse is not where it should be.
    """
    if workload.baseline is not None:
        has_wheel = any(workload.baseline.parent.glob("torch_sparse-*.whl"))
        require(has_wheel, "--baseline", workload.baseline, "a script with torch-sparse's wheel beside it")
    data = workload.data()
    data.setup()
    for fan_out in FAN_OUTS:
        for batch_size in BATCH_SIZES:
            for workers in WORKERS:
                data.sampling = replace(
                    data.sampling, num_neighbors=list(fan_out), num_neighbors_of_movies=None, eval_num_neighbors=None
                )
                data.hparams.update({"batch_size": batch_size, "num_workers": workers})
                links, edges = sampled_per_second(data.train_dataloader(), workload.repeat)
                setting = f"batch {batch_size:,}, fan-out {list(fan_out)}, {workers} workers"
                yield Figure("sampler", "links", setting, links, "/s")
                yield Figure("sampler", "messages", setting, edges, "/s")
                if workers == 0 and batch_size in BESIDE and "time" in data.graph.data[RATES]:
                    _, edges = sampled_per_second(_by_time(data, batch_size, list(fan_out)), workload.repeat)
                    yield Figure("sampler", "messages by time", setting, edges, "/s")
                gc.collect()  # ends this loader's workers before others inherit it
    if workload.baseline is not None:
        yield from _beside(workload)


def sampled_per_second(loader: LinkLoader, repeat: int = 1) -> tuple[float, float]:
    """Links and messages a second, as medians, after the first batch: until then an epoch draws its order."""
    passes = []
    for _ in range(repeat + 1):  # workers start in the first pass, which does not count
        counts, batches = [0, 0], islice(loader, _MAX_BATCHES + 1)
        next(batches)

        def sample(batches: Iterator[HeteroData] = batches, counts: list[int] = counts) -> None:
            for batch in batches:
                counts[0] += batch[RATES].input_id.numel()
                counts[1] += sum(batch[kind].num_edges for kind in (RATES, REV_RATES))

        took = seconds(sample)
        passes.append([count / took for count in counts])
    links, edges = zip(*passes[1:], strict=True)
    return median(links), median(edges)


def _by_time(data: MovieLensDataModule, batch_size: int, num_neighbors: list[int]) -> LinkLoader:
    """The links of training with their times, and as many negatives, sampled by time."""
    graph = copy(data.split.train)
    graph[RATES].edge_label_time = data.graph.data[RATES].time[graph[RATES].edge_label_id]
    return link_loader(
        graph,
        num_neighbors,
        edge_type=RATES,
        rev_edge_type=REV_RATES,
        batch_size=batch_size,
        edge_attrs=data.reads.edge_attrs,
        positives=data.split.train_links,
        neg_sampling=NegativeSampling("binary", data.sampling.neg_sampling_ratio),
        time_attr="time",
    )


def _beside(workload: Workload) -> Iterator[Figure]:
    """Both samplers on the same graph and the same links, in turn, one thread."""
    argument = {
        "baseline": str(workload.baseline),
        "data": workload.settings["data"],
        "batch_sizes": BESIDE,
        "repeat": workload.repeat,
    }
    found, _ = run_module("torch_sparse", argument, threads=1)
    for what, by_size in found.items():
        for batch_size, (ours, theirs) in by_size.items():
            setting = f"batch {int(batch_size):,}, fan-out [20, 10], 1 thread"
            yield Figure("sampler", what, setting, 1e3 * ours, "ms")
            yield Figure("sampler", f"{what}, torch-sparse", setting, 1e3 * theirs, "ms")
            yield Figure("sampler", f"{what}, torch-sparse / ours", setting, theirs / ours, "x")
