"""A training step, split into its parts."""

from collections.abc import Iterator
from statistics import mean

import torch
from pytorch_lightning.profilers import SimpleProfiler

from lightning_lp.commands.benchmark.workload import Figure, Workload, make_model, make_trainer
from lightning_lp.data.datamodule import MovieLensDataModule

_PARTS = {
    "sampling": "train_dataloader_next",
    "transfer": "batch_to_device",
    "forward": "training_step",
    "backward": "backward",
    "optimiser": "optimizer_step",
}
"""The last word of Lightning's name for it; ``optimizer_step`` holds ``training_step`` and ``backward``."""
_STEPS, _WARM_UP = 60, 10


class Synchronised(SimpleProfiler):
    """Waits for the device before it looks at the clock, and prints no report."""

    def start(self, action_name: str) -> None:
        """Starts the clock."""
        _wait()
        super().start(action_name)

    def stop(self, action_name: str) -> None:
        """Stops it."""
        _wait()
        super().stop(action_name)

    def describe(self) -> None:
        """Prints nothing."""


def step(workload: Workload) -> Iterator[Figure]:
    """Milliseconds of each part of a step, as means over all but the first ten."""
    data = workload.data()
    data.setup()
    found = step_parts(workload, data)
    setting = f"batch {data.train_dataloader().batch_size:,}, {workload.threads} threads"
    for part, value in found.items():
        yield Figure("step", part, setting, 1e3 * value, "ms")


def step_parts(workload: Workload, data: MovieLensDataModule) -> dict[str, float]:
    """Seconds of each part of a step, the rest of Lightning's loop, and their sum."""
    profiler = Synchronised()
    trainer = make_trainer(workload.settings, _STEPS, profiler=profiler)
    trainer.fit(make_model(workload.settings, data), datamodule=data)
    recorded = {name.split(".")[-1]: durations for name, durations in profiler.recorded_durations.items()}
    parts = {part: mean(recorded[name][_WARM_UP:] or recorded[name]) for part, name in _PARTS.items()}
    parts["optimiser"] -= parts["forward"] + parts["backward"]
    return parts | {"sum": sum(parts.values())}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
