"""A process of its own: one data set from CSV files to lists, so that the peak of memory is its own.

``python -m lightning_lp.commands.benchmark.size JSON``
"""

import json
import math
import resource
import sys
from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_lp.callbacks.throughput import Throughput
from lightning_lp.commands.benchmark.sampler import sampled_per_second
from lightning_lp.commands.benchmark.stages import stage_seconds
from lightning_lp.commands.benchmark.workload import make_model, make_trainer, seconds
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.evaluation.ranking import dot_products, rank_users
from lightning_lp.evaluation.ranking_task import ranking_task

_RANKED_USERS = 10_000
_FAN_OUT, _BATCH_SIZE = [20, 10], 1024
"""How sampling is measured, whatever the model: as the tutorial does it."""

Found = dict[str, tuple[float, str]]
"""Value and unit of each figure."""


def main(argument: dict[str, Any]) -> Found:
    """Reads, trains some steps, samples and ranks."""
    settings = argument["settings"]
    data = MovieLensDataModule(**settings["data"])
    found: Found = {stage: (value, "s") for stage, value in stage_seconds(data).items()}
    found["peak memory, first batch"] = _peak()
    module, throughput = make_model(settings, data), Throughput()
    trainer = make_trainer(settings, argument["steps"], callbacks=[throughput])
    took = seconds(lambda: trainer.fit(module, datamodule=data))
    found["before the first step"] = took - throughput.seconds, "s"
    found["training"] = throughput.links / throughput.seconds, "links/s"
    found[f"peak memory, {argument['steps']} steps"] = _peak()
    data.sampling = replace(
        data.sampling, num_neighbors=_FAN_OUT, num_neighbors_of_movies=None, eval_num_neighbors=None
    )
    data.hparams["batch_size"] = _BATCH_SIZE
    found["sampling"] = sampled_per_second(data.train_dataloader())[1], "messages/s"
    return found | _ranking(data, module)


def _ranking(data: MovieLensDataModule, module: Any) -> Found:
    """Ranks for some of the users: every so many chunks."""
    graph = data.split.val
    z: list[Tensor] = []
    took = seconds(lambda: z.extend(module.encoder.embed_all(graph)))
    task = ranking_task(graph, data.graph.below_min_rating)
    parts = math.ceil(task.users.numel() / _RANKED_USERS)
    ranked = []
    spent = seconds(lambda: ranked.append(rank_users(task, dot_products(*z), 0, parts)))
    return {
        "embed all nodes": (took, "s"),
        f"rank {ranked[0].users.numel():,} users": (spent, "s"),
        "peak memory, ranking": _peak(),
    }


def _peak() -> tuple[float, str]:
    """The most memory that this process has had so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, "MiB"


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
