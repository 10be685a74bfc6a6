"""The command ``tune``, which needs Optuna beside what all commands need."""

from collections.abc import Sequence

from lightning_lp.errors import UserError


def tune(args: Sequence[str] | None = None) -> None:
    """Runs the search.

    Raises:
        UserError: Optuna is not installed, or something else that the user can put right.
    """
    try:
        from lightning_lp.commands.tune.search import run_search
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError("tune needs Optuna: pip install --constraint constraints.txt --editable '.[tune]'") from None
    run_search(args)
