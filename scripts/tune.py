"""Searches settings of the model on validation: ``python scripts/tune.py [--trials N] [flags of lightning-lp fit]``."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.__main__ import run
from lightning_lp.errors import UserError

DEFAULTS = Path(__file__).parent / "configs" / "default.yaml"


def tune(args: Sequence[str] | None = None) -> None:
    """Runs the search from ``configs/default.yaml``, changed by the flags given."""
    try:
        from lightning_lp.commands.tune.search import tune
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError("tune.py needs Optuna: pip install --constraint constraints.txt --editable '.[tune]'") from None
    tune(DEFAULTS, args)


if __name__ == "__main__":
    run(tune)
