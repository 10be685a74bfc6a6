"""The console script ``lightning-lp``: runs a command and turns a user's mistake into one sentence."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from lightning_lp.escape import visible

_OTHERS = {"recommend": "commands", "export": "commands", "doctor": "doctor"}
"""Commands that are not the Trainer's, and the modules with their functions."""


def run(command: Callable[[Sequence[str] | None], object] | None = None, args: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake of the user's is printed without a traceback and ends with status 2.

    Args:
        command: takes the options. Default: one of ``_OTHERS`` if the first option says so, else
            ``lightning_lp.cli.main``.
        args: options. Default: those of the process.
    """
    try:
        if command is None:
            command, args = _command(args)
        command(args)
    except Exception as error:
        from lightning_lp.mistakes import mistake  # imports take seconds

        if (sentence := mistake(error)) is None:
            raise
        print(visible(f"error: {sentence}", keep="\n"), file=sys.stderr)
        sys.exit(2)


def _command(args: Sequence[str] | None) -> tuple[Callable[[Sequence[str] | None], object], Sequence[str] | None]:
    """The command that the options ask for, and its own options."""
    given = list(sys.argv[1:] if args is None else args)
    if given and given[0] in _OTHERS:
        return getattr(import_module(f"lightning_lp.{_OTHERS[given[0]]}"), given[0]), given[1:]
    if given[:1] in (["-h"], ["--help"]):
        print(f"{', '.join(_OTHERS)}: without training, see lightning-lp {'|'.join(_OTHERS)} --help; and\n")
    from lightning_lp.cli import main

    return main, args


if __name__ == "__main__":
    run()
