"""The console script ``lightning-lp``: runs a command and turns a user's mistake into one sentence."""

import sys
from collections.abc import Callable, Sequence


def run(command: Callable[[Sequence[str] | None], object] | None = None, args: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake of the user's is printed without a traceback and ends with status 2.

    Args:
        command: takes the options. Default: ``lightning_lp.cli.main``.
        args: options. Default: those of the process.
    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from lightning_lp.cli import main
    from lightning_lp.errors import UserError

    try:
        (command or main)(args)
    except (UserError, MisconfigurationException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
