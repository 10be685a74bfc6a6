"""Finds the run that ``--resume`` and ``--ckpt_path last`` mean, and the checkpoint from which it goes on."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.checkpointing.places import LAST, is_last, run_of, run_state, same
from lightning_lp.errors import UserError

CONFIG_FILE = "config.yaml"
RESUME = "--resume"
DIRPATH = "--checkpoint.dirpath"


def resolved(args: Sequence[str]) -> list[str]:
    """Replaces ``--resume [RUN]`` by the run's own settings and checkpoint, and ``--ckpt_path last`` by its path.

    Args:
        args: command and options. What stands after ``--resume`` may change the run's settings.

    Raises:
        UserError: there is no run, or no readable checkpoint in it.
    """
    args = list(args)
    for i, arg in enumerate(args):
        name, _, value = arg.partition("=")
        has_next = not value and i + 1 < len(args) and not args[i + 1].startswith("-")
        rest = args[i + 2 :] if has_next else args[i + 1 :]
        value = args[i + 1] if has_next else value
        if name == RESUME:
            if args[0] != "fit":
                raise UserError(f"--resume continues a fit, and not {args[0]}: give --ckpt_path FILE")
            run = Path(value) if value else newest(logs_folder(args))
            checkpoint, content = newest_readable(run, _option(rest, DIRPATH))
            config = run_of(checkpoint, content) / CONFIG_FILE
            given = ["--config", str(config)] if config.is_file() else []
            return [*args[:i], *given, "--ckpt_path", str(checkpoint), *rest]
        if name == "--ckpt_path" and value == "last":
            checkpoint, _ = newest_readable(newest(logs_folder(args)), _option(args, DIRPATH))
            return [*args[:i], name, str(checkpoint), *rest]
    return args


def newest(logs: Path) -> Path:
    """The run folder in ``logs`` with the newest checkpoint.

    Raises:
        UserError: no run has one.
    """
    found = []
    for run in logs.glob("*"):
        with suppress(UserError):  # a copy, which has to be named
            found += [(file.stat().st_mtime, run) for file in checkpoints_of(run)]
    if not found:
        raise UserError(f"there is no run in {logs} that could be continued: name its folder with --resume RUN")
    return max(found)[1]


def newest_readable(run: Path, dirpath: str | None = None) -> tuple[Path, dict[str, Any]]:
    """``last.ckpt`` of a run; if that is damaged or gone, the newest checkpoint that is not, and says so.

    It is read as a whole, so that what cannot be read is found out before a training begins.

    Args:
        run: its folder, or that of its checkpoints.
        dirpath: where its checkpoints may be, too.

    Returns:
        The file, and what is in it.

    Raises:
        UserError: there is none.
    """
    found = checkpoints_of(run, dirpath) or list(run.glob("*.ckpt"))
    for file in sorted(found, key=lambda file: (_goes_on(file), file.stat().st_mtime), reverse=True):
        try:
            content = read_checkpoint(file)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
        else:
            if not is_last(file):
                print(f"warning: no readable {LAST} in {file.parent}: going on from {file.name}", file=sys.stderr)
            return file, content
    raise UserError(f"{run} holds no readable checkpoint: train anew, with --config {run / CONFIG_FILE}")


def checkpoints_of(run: Path, dirpath: str | None = None) -> list[Path]:
    """The checkpoints of a run: in the folder that was given for them, if it holds any of this run; else in its own.

    Raises:
        UserError: that folder is another run's, and this run is a copy of it.
    """
    own = _dirpath(run)
    for elsewhere in filter(None, (dirpath, own)):
        found = [file for pattern in ("*.ckpt", "*/*.ckpt") for file in Path(elsewhere).glob(pattern)]
        if mine := [file for file in found if _belongs(file, run)]:
            return mine
        if found and dirpath is None:
            raise UserError(
                f"{run}: its checkpoints were written into {own}, and those there are of another run, of which it may "
                f"be a copy: give its own folder with {DIRPATH} DIR"
            )
    return list(run.glob("checkpoints/**/*.ckpt"))


def _dirpath(run: Path) -> str | None:
    """The ``--checkpoint.dirpath`` of a run."""
    try:
        text = (run / CONFIG_FILE).read_text(encoding="utf-8")
        found: str | None = None if "\n  dirpath: null\n" in text else yaml.safe_load(text)["checkpoint"]["dirpath"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return found


def _belongs(checkpoint: Path, run: Path) -> bool:
    try:
        return same(run_of(checkpoint, read_checkpoint(checkpoint, lazily=True)), run)
    except UserError:
        return False


def _goes_on(file: Path) -> bool:
    """Whether a file is a ``last.ckpt`` that the run was to be continued from, and not that of another callback."""
    if not is_last(file):
        return False
    try:
        return Path(run_state(read_checkpoint(file, lazily=True)).get("last_model_path") or file).name == file.name
    except UserError:
        return True  # it was, and is damaged


def logs_folder(args: Sequence[str]) -> Path:
    """Where the runs are, with these options."""
    return Path(_option(args, "--trainer.default_root_dir") or "") / "lightning_logs"


def _option(args: Sequence[str], wanted: str) -> str | None:
    """The value that an option has been given last."""
    found = None
    for arg, following in pairwise([*args, ""]):
        name, _, value = arg.partition("=")
        if name == wanted:
            found = value or following
    return found
