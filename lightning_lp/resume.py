"""Finds the run that ``--resume`` and ``--ckpt_path last`` mean, and the checkpoint from which it goes on."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_lp.callbacks.checkpoints import LAST
from lightning_lp.checkpoint_io import read_checkpoint
from lightning_lp.errors import UserError

CONFIG_FILE = "config.yaml"
RESUME = "--resume"


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
            config = run / CONFIG_FILE
            given = ["--config", str(config)] if config.is_file() else []
            return [*args[:i], *given, "--ckpt_path", str(newest_readable(run)), *rest]
        if name == "--ckpt_path" and value == "last":
            return [*args[:i], name, str(newest_readable(newest(logs_folder(args)))), *rest]
    return args


def newest(logs: Path) -> Path:
    """The run folder in ``logs`` with the newest checkpoint.

    Raises:
        UserError: no run has one.
    """
    found = [file for run in logs.glob("*") for file in _checkpoints(run)]
    if not found:
        raise UserError(f"there is no run in {logs} that could be continued: name its folder with --resume RUN")
    return max(found, key=lambda file: file.stat().st_mtime).parent.parent


def newest_readable(run: Path) -> Path:
    """``last.ckpt`` of a run; if that is damaged or gone, the newest checkpoint that is not, and says so.

    Raises:
        UserError: there is none.
    """
    found = sorted(_checkpoints(run), key=lambda file: (file.name == LAST, file.stat().st_mtime), reverse=True)
    for file in found:
        try:
            read_checkpoint(file)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
        else:
            if file.name != LAST:
                print(f"warning: no readable {LAST} in {file.parent}: going on from {file.name}", file=sys.stderr)
            return file
    raise UserError(f"{run} holds no readable checkpoint: train anew, with --config {run / CONFIG_FILE}")


def logs_folder(args: Sequence[str]) -> Path:
    """Where the runs are, with these options."""
    root = ""
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        name, _, value = arg.partition("=")
        if name == "--trainer.default_root_dir":
            root = value or following
    return Path(root) / "lightning_logs"


def run_of(checkpoint: Path) -> Path:
    """The run folder that a checkpoint lies in.

    Raises:
        UserError: it lies in none.
    """
    folder = checkpoint.resolve().parent
    if folder.name != "checkpoints":
        raise UserError(
            f"--ckpt_path {checkpoint}: a fit continues a run in its own folder, and this file lies in none: give "
            "RUN/checkpoints/FILE"
        )
    return folder.parent


def _checkpoints(run: Path) -> list[Path]:
    return list(run.glob("checkpoints/*.ckpt"))
