"""From two CSV files to the first batch: how long each stage takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

from lightning_lp.commands.benchmark.workload import Figure, Workload, seconds
from lightning_lp.data import datamodule
from lightning_lp.data.datamodule import MovieLensDataModule

_CALLS = {"read_tables": "read", "build_graph": "graph", "split_links": "split"}
"""What ``setup`` calls, and the names of these stages."""


def stages(workload: Workload) -> Iterator[Figure]:
    """Seconds of each stage. The first run, in which numba loads its kernels, does not count."""
    runs = [stage_seconds(workload.data()) for _ in range(workload.repeat + 1)][1:]
    for stage in runs[0]:
        yield Figure("stages", stage, "", median(run[stage] for run in runs), "s")


def stage_seconds(data: MovieLensDataModule) -> dict[str, float]:
    """Takes data that is not set up to its first batch. Returns the seconds of each stage, in their order."""
    with _timed_setup() as found:
        data.setup()
    found["sampler"] = seconds(data.train_dataloader)
    loader = data.train_dataloader()
    found["first batch"] = seconds(lambda: next(iter(loader)))
    return found


@contextmanager
def _timed_setup() -> Iterator[dict[str, float]]:
    """Within it, what ``setup`` calls is timed with the very arguments that it passes."""
    found: dict[str, float] = {}

    def timed(call: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = []
            found[stage] = seconds(lambda: result.append(call(*args, **kwargs)))
            return result[0]

        return wrapper

    wrappers: dict[str, Any] = {name: timed(getattr(datamodule, name), stage) for name, stage in _CALLS.items()}
    with patch.multiple(datamodule, **wrappers):
        yield found
