"""Time to the tutorial's AUROC, beside the notebook's own training."""

import json
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from statistics import median

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.commands.benchmark.workload import Child, Figure, Workload, last_json, run_child
from lightning_lp.errors import UserError

TARGET = 0.9307
"""Validation AUROC of the tutorial's notebook after its five epochs."""


def fast(workload: Workload) -> Iterator[Figure]:
    """Runs ``lightning-lp fit`` with the settings, and the notebook's training in turn with it."""
    ours, theirs = [], []
    for _ in range(workload.repeat):
        ours.append(run_fit(workload))
        if workload.baseline is not None:
            child = run_child([workload.baseline, workload.root, f"--threads={workload.threads}"], workload.threads)
            theirs.append((last_json(child), child))
    training, whole = median(run[0] for run in ours), median(run[1].seconds for run in ours)
    setting = f"median of {workload.repeat}, {workload.threads} threads"
    yield Figure("fast", f"training to AUROC {TARGET}", setting, training, "s")
    yield Figure("fast", "whole fit, with imports and test", setting, whole, "s")
    yield Figure("fast", "peak memory of fit", setting, median(run[1].peak_mib for run in ours), "MiB")
    if theirs:
        baseline = median(found["train_s"] for found, _ in theirs)
        auroc = median(found["epochs"][-1]["val_auroc"] for found, _ in theirs)
        yield Figure("fast", f"notebook: training to AUROC {auroc}", setting, baseline, "s")
        yield Figure("fast", "notebook: peak memory", setting, median(c.peak_mib for _, c in theirs), "MiB")
        yield Figure("fast", "notebook's training / training", setting, baseline / training, "x")
        yield Figure("fast", "notebook's training / whole fit", setting, baseline / whole, "x")


def run_fit(workload: Workload) -> tuple[float, Child]:
    """Runs ``lightning-lp fit`` in a process and a folder of its own.

    Returns:
        Seconds of training (without validation) until the target was reached, and the process.

    Raises:
        UserError: the target was not reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "lightning_lp", "fit", *workload.flags]
        command += [f"--data.root={workload.root}", f"--trainer.default_root_dir={folder}"]
        child = run_child(command, workload.threads)
        (run,) = Path(folder, "lightning_logs").iterdir()
        return seconds_to(TARGET, run), child


def seconds_to(target: float, run: Path) -> float:
    """Seconds of training, by a run's own log, until the first validation with an AUROC of ``target``.

    Raises:
        UserError: there was none.
    """
    links: int = json.loads((run / "results.json").read_text())["split"]["train_links"]
    events = EventAccumulator(str(run))
    events.Reload()
    aurocs, rates = ([event.value for event in events.Scalars(tag)] for tag in ("val/auroc", "train/links_per_s"))
    for auroc, spent in zip(aurocs, accumulate(links / rate for rate in rates), strict=True):
        if auroc >= target:
            return float(spent)
    raise UserError(f"no epoch had a validation AUROC of {target}, the best was {max(aurocs):.4f}: give other settings")
