"""The console script ``lightning-lp``: runs a command and turns a user's mistake into one sentence."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from lightning_lp.checkpointing import signals
from lightning_lp.commands import packages, streams
from lightning_lp.errors import TRACEBACK, UserError
from lightning_lp.escape import visible

_OTHERS = {"recommend": "commands.recommend", "export": "commands.export", "doctor": "commands.doctor"}
"""Commands that are not the Trainer's, and the modules with their functions."""

_HELP = """\
usage: lightning-lp COMMAND [options]

  fit        trains a model
  validate   measures a checkpoint on the validation part
  test       measures a checkpoint on the test part
  predict    writes the probabilities of given pairs
  recommend  shows what a trained run recommends
  export     writes a recommender that needs NumPy alone
  doctor     says whether this machine can train

options of a command: lightning-lp COMMAND --help"""


def run(command: Callable[[Sequence[str] | None], object] | None = None, args: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake of the user's is printed without a traceback and ends with status 2.

    Args:
        command: takes the options. Default: one of ``_OTHERS`` if the first option says so, else
            ``lightning_lp.commands.cli.main``.
        args: options. Default: those of the process.
    """
    try:
        with signals.exiting(), streams.lasting():
            if command is None:
                command, args = _command(args)
            command(args)
    except Exception as error:
        sentence = None if os.environ.get(TRACEBACK) else _sentence(error)
        if sentence is None:
            raise
        _refuse(sentence)


def _command(args: Sequence[str] | None) -> tuple[Callable[[Sequence[str] | None], object], Sequence[str] | None]:
    """The command that the options ask for, and its own options."""
    given = list(sys.argv[1:] if args is None else args)
    if given and given[0] in _OTHERS:
        return getattr(load(_OTHERS[given[0]]), given[0]), given[1:]
    if given[:1] in (["-h"], ["--help"]):
        print(_HELP)  # what Lightning prints takes seconds, and lacks half of the commands
        sys.exit()
    return load("commands.cli").main, args


def load(name: str) -> Any:
    """Imports a module of this package.

    A quarter of that time would be spent on looking for garbage among the modules, classes and functions, which stay.
    """
    gc.disable()
    try:
        module = import_module(f"lightning_lp.{name}")
        gc.freeze()
    finally:
        gc.enable()
    return module


def _sentence(error: Exception) -> str | None:
    """What the user can put right about an exception, or none: then it is a fault of the program's."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ImportError):
        return packages.missing(error)  # it may be of one that is needed below
    from lightning_lp.commands.mistakes import mistake  # imports take seconds

    return mistake(error)


def _refuse(sentence: str) -> NoReturn:
    print(visible(f"error: {sentence}", keep="\n"), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    run()
