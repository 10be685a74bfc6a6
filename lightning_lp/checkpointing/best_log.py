"""What TensorBoard shows of a run's best checkpoint, in a folder of its own beside the curves of training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

BEST_FOLDER = "best"
"""Below the run's folder: TensorBoard takes it for a run of its own, whose points lie on the run's curves."""
Metrics = Mapping[str, float | None]


def write_best(
    run: Path, settings: Mapping[str, Any], parts: Mapping[str, Metrics], step: int, suffix: str = ""
) -> None:
    """Writes the log of the best checkpoint anew: HParams, a point on each curve of validation, and a table.

    The points have the tags of the curves, so that they make no cards of their own; HParams reads them. Metrics of
    other parts, which have no curves, stand in the table alone, under Text.

    Args:
        run: the run's folder.
        settings: by name; what is None is left out.
        parts: metrics by part (``validation``, ``test``); None where one is undefined.
        step: where the points belong.
        suffix: how the run's files of events end: other runs may share the folder.
    """
    remove_best(run, suffix)
    plain = {name: str(value) for name, value in settings.items() if value is not None}
    points = {f"val/{name}": value for name, value in parts.get("validation", {}).items() if value is not None}
    with SummaryWriter(run / BEST_FOLDER, filename_suffix=suffix) as writer:
        for summary in hparams(plain, points):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for name, value in points.items():
            writer.add_scalar(name, value, step)
        writer.add_text("results", _table(parts), step)


def remove_best(run: Path, suffix: str = "") -> None:
    """Removes the log of the best checkpoint, if there is one: the files of events that end so."""
    for path in (run / BEST_FOLDER).glob("events.out.tfevents.*"):
        if path.name.endswith(suffix):
            path.unlink()


def _table(parts: Mapping[str, Metrics]) -> str:
    """The metrics as Markdown, a column for each part."""
    names = dict.fromkeys(name for metrics in parts.values() for name in metrics)
    rows = [("best checkpoint", *parts), ("---",) + ("---:",) * len(parts)]
    rows += [(name, *(shown(metrics.get(name)) for metrics in parts.values())) for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def shown(value: float | None) -> str:
    """A metric as text."""
    return "undefined" if value is None else f"{value:.4f}"
