"""Where the files are now that a checkpoint tells of: a run may have been moved or copied, as a whole or in parts."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_lp.errors import UserError

LAST = "last.ckpt"
KEY = "continuation"
"""The part of a checkpoint that :class:`~lightning_lp.callbacks.continuation.Continuation` adds."""


def is_last(file: Path) -> bool:
    """Whether a file is a ``last.ckpt``, by its name."""
    return re.fullmatch(r"last(-v\d+)?\.ckpt", file.name) is not None


def run_state(content: Mapping[str, Any]) -> dict[str, Any]:
    """The state of ``RunCheckpoint`` in a checkpoint; of one that was written without it, that of any other."""
    states = _states(content)
    return next((state for name, state in states.items() if name.startswith("RunCheckpoint")), None) or next(
        iter(states.values()), {}
    )


def _states(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The states of all callbacks that keep checkpoints."""
    return {name: state for name, state in content.get("callbacks", {}).items() if "best_model_path" in state}


def checkpoint_folder(checkpoint: Path, content: Mapping[str, Any]) -> Path:
    """The folder of the run's checkpoints that a file lies in: above its parent where its name holds a slash."""
    file = checkpoint.parent.resolve() / checkpoint.name
    origin = run_state(content).get("dirpath")
    if origin is None:
        return next((folder for folder in file.parents if folder.name == "checkpoints"), file.parent)
    names = [path for state in _states(content).values() for path in remembered(state)]
    tails = [Path(os.path.relpath(name, origin)).parts for name in names]
    depth = max((len(tail) for tail in tails if file.parts[-len(tail) :] == tail), default=1)
    return file.parents[depth - 1]


def run_of(checkpoint: Path, content: Mapping[str, Any]) -> Path:
    """The run folder, with ``config.yaml`` and logs, that a checkpoint belongs to.

    Raises:
        UserError: it belongs to none, or lies in a copy of another run's checkpoints.
    """
    folder = checkpoint_folder(checkpoint, content)
    origin = run_state(content).get("dirpath") or str(folder)
    run, name = content.get(KEY, {}).get("run"), Path(origin).name
    if run is None:  # written by an older version, in its default folder
        run, name = os.path.dirname(origin), "checkpoints"
    found = followed(run, origin, folder) if folder.name == name else None
    if found is None:
        raise UserError(
            f"--ckpt_path {checkpoint}: a fit continues a run in its own folder, and this file lies in none: give "
            "RUN/checkpoints/FILE"
        )
    return found


def followed(target: str, origin: str, here: Path) -> Path | None:
    """Where a folder is that was ``target`` when what is ``here`` now was ``origin``.

    Returns:
        None if it is gone, or if it belongs to the original of what is ``here``, a copy.
    """
    moved = Path(os.path.normpath(here / os.path.relpath(target, origin)))
    is_elsewhere, is_copy = not same(here, origin), os.path.exists(origin)
    if is_elsewhere and is_copy and same(moved, target):
        return None
    if moved.exists():
        return moved
    return Path(target) if is_elsewhere and not is_copy and os.path.exists(target) else None


def remembered(state: Mapping[str, Any]) -> Iterator[str]:
    """The paths in the state of a ``ModelCheckpoint``."""
    singles = (state.get(name) for name in ("best_model_path", "kth_best_model_path", "last_model_path"))
    yield from filter(None, [*singles, *state.get("best_k_models", ()), *state.get("outdated", ())])


def located(path: str, origin: str, here: str | Path) -> str:
    """Where a file is that was ``path`` when what is ``here`` was ``origin``; empty if it is gone."""
    moved = os.path.normpath(os.path.join(here, os.path.relpath(path, origin)))
    stayed = path if os.path.isabs(path) and os.path.isfile(path) else ""
    return moved if os.path.isfile(moved) else stayed


def relocated(
    state: Mapping[str, Any], origin: str, here: Path, own: str, mode: str
) -> tuple[dict[str, Any], list[str]]:
    """The state of a ``ModelCheckpoint`` with its files where they are now.

    What is gone is forgotten. What lies in another folder than the one that is written now is still compared with and
    read.

    Args:
        state: as the callback has saved it.
        origin: folder of the run's checkpoints then.
        here: the same folder now.
        own: where the callback keeps its checkpoints from now on.
        mode: ``min`` or ``max``.

    Returns:
        The state, and those of the files that the callback takes over, and may remove.
    """
    then = state["dirpath"]
    moved = os.path.normpath(here / os.path.relpath(then, origin))
    base = own if (is_own := same(moved, own)) else moved
    found = {path: now for path in remembered(state) if (now := located(path, then, base))}
    inside = [now for now in found.values() if is_own and now.startswith(os.path.join(own, ""))]

    models = {found[path]: score for path, score in state["best_k_models"].items() if path in found}
    worst, choose = (max, min) if mode == "min" else (min, max)
    best, kth = found.get(state["best_model_path"], ""), found.get(state["kth_best_model_path"], "")
    score = state["best_model_score"] if best else None
    if models and not best:
        best = choose(models, key=lambda path: models[path])
        score = models[best]
    if models and kth not in models:
        kth = worst(models, key=lambda path: models[path])
    last = found.get(state["last_model_path"], "")
    outdated = [found[path] for path in state.get("outdated", ()) if path in found]
    return {
        **state,
        "dirpath": own,
        "best_k_models": models,
        "best_model_path": best,
        "best_model_score": score,
        "kth_best_model_path": kth,
        "kth_value": models.get(kth, state["kth_value"]),
        "last_model_path": last if last in inside else "",
        "outdated": [path for path in outdated if path in inside],
    }, inside


def same(one: str | Path, other: str | Path) -> bool:
    """Whether two paths name one place."""
    return os.path.realpath(one) == os.path.realpath(other)
