"""The ``results.json`` of a run folder: what the run says of itself."""

import json
from pathlib import Path
from typing import Any

from lightning_lp.atomic import replacing

RESULTS_FILE = "results.json"


def read_results(folder: Path) -> dict[str, Any]:
    """What ``results.json`` in a folder says; nothing if there is none."""
    try:
        found = json.loads((folder / RESULTS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def recorded_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The checkpoint that ``results.json`` in a folder names, as :func:`_kept` gives it."""
    entry = read_results(folder).get("checkpoint")
    return entry if isinstance(entry, dict) and {"file", "trained_steps"} <= entry.keys() else None


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(results, indent=2) + "\n")
