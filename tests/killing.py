"""Stops runs of the command line at any moment, and tells whether two runs are the same."""

import errno
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from pytorch_lightning.trainer import call
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.__main__ import run
from lightning_lp.callbacks import curves
from lightning_lp.checkpointing.best_log import BEST_FOLDER
from lightning_lp.commands.cli import main
from lightning_lp.model.classifier import DotProductClassifier
from tests.forks import Fork
from tests.journeys import best_checkpoint, results

_TIMED = {"train/links_per_s"}
STOP = "STOP_RANK_AT_HOOK_HOW_ALL"
"""Environment of a run: which of its processes, at which hook, sends itself, or all of them, which signal."""


def run_process(
    folder: Path, args: Sequence[str], stop_at: int | None = None, how: int = signal.SIGKILL, of: int | None = None
) -> int:
    """Runs ``fit`` and ``test`` as ``scripts/fit.py`` does. Returns the exit status, negative if killed.

    Args:
        folder: the current folder of the run.
        args: options.
        stop_at: number of the hook (of several in each step, and one at each write) at which the process gets a signal.
        how: the signal.
        of: rank of the process that counts the hooks; then the signal goes to all. Default: there is one process.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    if stop_at is not None:
        environment[STOP] = f"{of or 0} {stop_at} {int(how)} {int(of is not None)}"
    with (folder / "output.txt").open("a") as file:
        output = file.fileno()
        process = Fork(
            ["python", "-m", "tests.killing", *args], cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            return process.wait(300)
        finally:
            process.kill_group()  # whatever has outlived the first process


def train() -> None:
    """Is the program that :func:`run_process` runs."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    patch.setattr(curves, "curves_figure", lambda *_: Figure(figsize=(1, 1)))  # drawing takes longer than the rest
    make_the_model_draw(patch)
    rank, stop_at, how, is_for_all = map(int, os.environ.get(STOP, "-1 0 0 0").split())
    if rank == int(os.environ.get("LOCAL_RANK", 0)):
        send_signal(patch, stop_at, how, (lambda signum: os.killpg(0, signum)) if is_for_all else signal.raise_signal)
    run(lambda given: main(["fit", *given], then_test=True), sys.argv[1:])


def make_the_model_draw(patch: pytest.MonkeyPatch) -> None:
    """Lets training use dropout, and all global generators of random numbers."""
    forward = DotProductClassifier.forward

    def drawing(self: DotProductClassifier, *args: torch.Tensor) -> torch.Tensor:
        logits = forward(self, *args)
        if not self.training:
            return logits
        torch.rand(int(os.environ.get("LOCAL_RANK", 0)))  # each process draws numbers of its own
        return F.dropout(logits, 0.1) * (1 + 0.1 * np.random.rand() + 0.1 * random.random())

    patch.setattr(DotProductClassifier, "forward", drawing)


def send_signal(
    patch: pytest.MonkeyPatch, stop_at: int, how: int, send: Callable[[int], None] = signal.raise_signal
) -> None:
    """Sends a signal at one of the hooks, several in each step, or in the middle of a write."""
    left = stop_at

    def count(original: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                send(how)
            return original(*args, **kwargs)

        return counted

    patch.setattr(call, "_call_callback_hooks", count(call._call_callback_hooks))
    for name in ("replace", "fsync", "unlink"):
        patch.setattr(os, name, count(getattr(os, name)))


def fill_the_disk(patch: pytest.MonkeyPatch, writes: int = 0) -> None:
    """Lets the disk be full after so many durable writes."""
    left = writes

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", fsync)


def contents(folder: Path) -> dict[str, Any]:
    """All that a finished run says, but for what measures time: to be compared bit for bit."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    best = best_checkpoint(folder)
    weights = torch.load(best, weights_only=True)["state_dict"]
    runs = str(folder.resolve().parent.parent)
    callbacks = {
        key: state for key, state in last["callbacks"].items() if not key.startswith(("Results", "Throughput"))
    }
    return {
        "best": (best.name, {name: value.tolist() for name, value in weights.items()}),
        "weights": {name: value.tolist() for name, value in last["state_dict"].items()},
        "optimiser": plain(last["optimizer_states"]),
        "callbacks": {key: plain(state, hidden=runs) for key, state in callbacks.items()},
        "metrics": plain({k: v for k, v in last["continuation"]["metrics"].items() if k not in _TIMED}),
        "random": plain(last["continuation"]["ranks"]),
        "events": events(folder),
        "events of the best": events(folder / BEST_FOLDER),
        "results": {part: found for part, found in results(folder).items() if part != "timing"},
    }


def events(folder: Path) -> dict[str, Any]:
    """Step and value of all scalars and texts, step of all else."""
    log = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0, "histograms": 0})
    log.Reload()
    tags = log.Tags()
    found: dict[str, Any] = {
        tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in tags["scalars"] if tag not in _TIMED
    }
    found |= {f"tensor {tag}": [event.step for event in log.Tensors(tag)] for tag in tags["tensors"]}
    for text in ("val/recommendations/text_summary", "results/text_summary"):
        if text in tags["tensors"]:
            found[f"text {text}"] = [event.tensor_proto.string_val[0] for event in log.Tensors(text)]
    found |= {f"image {tag}": [event.step for event in log.Images(tag)] for tag in tags["images"]}
    return found | {f"histogram {tag}": [event.step for event in log.Histograms(tag)] for tag in tags["histograms"]}


def plain(value: Any, hidden: str = "\0") -> Any:
    """Tensors as lists, and texts without the folder of the runs, so that ``==`` compares."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {plain(key, hidden): plain(item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, hidden) for item in value]
    return value.replace(hidden, "") if isinstance(value, str) else value


if __name__ == "__main__":
    train()
