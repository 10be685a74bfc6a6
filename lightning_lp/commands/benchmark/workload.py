"""What a benchmark runs: settings of ``fit``, and the data, model and processes made from them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytorch_lightning as pl

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule


class Figure(NamedTuple):
    """One line of the table.

    Attributes:
        group: which group of figures it belongs to.
        what: what was measured.
        setting: under which settings.
        value: the value.
        unit: its unit.
    """

    group: str
    what: str
    setting: str
    value: float
    unit: str


@dataclass(frozen=True)
class Workload:
    """What all groups of figures share.

    Attributes:
        settings: those of ``fit``, as ``--print_config`` shows them.
        flags: the options of ``fit`` from which they follow.
        baseline: the notebook's training script, if it is to be run beside.
        repeat: how often each figure is measured; the median counts.
        threads: of torch.
        sizes: numbers of links of the synthetic data sets.
        cache: folder of the synthetic data sets.
        steps: steps of a fit on synthetic data.
    """

    settings: Mapping[str, Any]
    flags: Sequence[str]
    baseline: Path | None
    repeat: int
    threads: int
    sizes: Sequence[int]
    cache: Path
    steps: int

    @property
    def root(self) -> Path:
        """The folder with the CSV files."""
        return Path(self.settings["data"]["root"])

    def data(self, **changes: Any) -> MovieLensDataModule:
        """The data module of the settings, with some of its own changed."""
        return MovieLensDataModule(**{**self.settings["data"], **changes})


def make_model(settings: Mapping[str, Any], data: MovieLensDataModule) -> LinkPredictionModule:
    """The model of the settings for this data, from seed 0."""
    pl.seed_everything(0, verbose=False)
    sizes = (data.num_users, data.num_movies, data.num_features, data.num_terms, data.max_terms)
    return LinkPredictionModule(*sizes, **settings["model"])


def make_trainer(settings: Mapping[str, Any], steps: int, **options: Any) -> pl.Trainer:
    """A Trainer for some steps on the device of the settings that writes no files and does not validate."""
    chosen = {name: settings["trainer"][name] for name in ("accelerator", "precision", "gradient_clip_val")}
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options |= dict.fromkeys(quiet, False)
    return pl.Trainer(**chosen, devices=1, max_steps=steps, limit_val_batches=0, **options)


def median_seconds(work: Callable[[], object], repeat: int) -> float:
    """Median time of some calls, after one that does not count."""
    work()
    return median(seconds(work) for _ in range(repeat))


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Child(NamedTuple):
    """A process that has ended: what it printed, how long it took from start to end, and the most memory it had."""

    output: str
    seconds: float
    peak_mib: float


def run_child(command: Sequence[str | Path], threads: int) -> Child:
    """Runs a Python program with so many threads, and waits.

    Raises:
        UserError: it fails; with the last line that it had to say.
    """
    launch = [sys.executable, "-m", "lightning_lp.commands.benchmark.launch", sys.executable, *map(str, command)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(launch, env=environment, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    *lines, about = ended.stdout.rstrip().split("\n")
    output = "\n".join(lines).rstrip()
    if ended.returncode:
        last = (output or "nothing").splitlines()[-1]
        raise UserError(f"{command[0]} {command[1]} ended with status {ended.returncode}: {last}")
    return Child(output, **json.loads(about))


def run_module(name: str, argument: Mapping[str, Any], threads: int) -> tuple[dict[str, Any], Child]:
    """Runs a module of this package in a process of its own. Returns the JSON object that is its last line."""
    child = run_child(["-m", f"lightning_lp.commands.benchmark.{name}", json.dumps(argument)], threads)
    return last_json(child), child


def last_json(child: Child) -> dict[str, Any]:
    """The JSON object that a process printed as its last line."""
    found: dict[str, Any] = json.loads(child.output.splitlines()[-1])
    return found
