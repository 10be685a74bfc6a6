"""The console script ``lightning-lp``: runs a command and turns a user's mistake into one sentence."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from lightning_lp.checkpointing import signals
from lightning_lp.commands import packages, streams
from lightning_lp.commands.imports import importing
from lightning_lp.errors import TRACEBACK, UserError, nearest
from lightning_lp.escape import visible

COMMANDS = {
    "fit": ("fit", "trains a model and tests its best checkpoint"),
    "update": ("update", "trains a run on when its data have grown"),
    "validate": ("fit", "measures a checkpoint on the validation part"),
    "test": ("fit", "measures a checkpoint on the test part"),
    "predict": ("fit", "writes the probabilities of given pairs"),
    "recommend": ("recommend", "shows what a trained run recommends"),
    "serve": ("serve", "answers over HTTP, with a page, and takes new ratings"),
    "export": ("export", "writes a recommender for NumPy alone, or as ONNX"),
    "compare": ("compare", "puts a run beside tuned baselines"),
    "reproduce": ("reproduce", "puts a fit beside published figures on their files"),
    "ablate": ("ablate", "measures variants of the model over several seeds"),
    "tune": ("tune.command", "searches settings of the model on validation"),
    "report": ("report", "writes one page about a run"),
    "new-users": ("new_users", "measures lists for users that the model never saw"),
    "benchmark": ("benchmark.command", "measures speed and memory"),
    "doctor": ("doctor", "says whether this machine can train"),
}
"""Each command: the module of ``commands`` that has a function of its name, and what it does."""

_HELP = """\
usage: lightning-lp COMMAND [options]

{commands}

options of a command: lightning-lp COMMAND --help"""

Command = Callable[[Sequence[str]], object]


def run(command: str | Command | None = None, args: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake of the user's is printed without a traceback and ends with status 2.

    Args:
        command: its name, or a function that takes the options. Default: the first of ``args``.
        args: options. Default: those of the process.
    """
    given = list(sys.argv[1:] if args is None else args)
    try:
        with signals.exiting(), streams.lasting():
            if command is None:
                command, *given = given or [""]
            if isinstance(command, str):
                command = _named(command)
            command(given)
    except Exception as error:
        sentence = None if os.environ.get(TRACEBACK) else _sentence(error)
        if sentence is None:
            raise
        _refuse(sentence)


def _named(name: str) -> Command:
    """The function of a command.

    Raises:
        UserError: there is no such command.
        SystemExit: help was asked for.
    """
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(_HELP.format(commands="\n".join(f"  {key:{width}}  {does}" for key, (_, does) in COMMANDS.items())))
        sys.exit()
    if name not in COMMANDS:
        hint = f"; did you mean {near}?" if (near := nearest(name, COMMANDS)) else ""
        problem = f"there is no command {name}{hint}" if name else "a command is wanted"
        raise UserError(f"{problem}; all commands: lightning-lp --help")
    command: Command = getattr(load(f"commands.{COMMANDS[name][0]}"), name.replace("-", "_"))
    return command


def load(name: str) -> Any:
    """Imports a module of this package."""
    with importing():
        return import_module(f"lightning_lp.{name}")


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
