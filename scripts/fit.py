"""Trains a model, then tests its best checkpoint: ``python scripts/fit.py [flags of lightning-lp fit]``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_lp.__main__ import load, run

DEFAULTS = Path(__file__).parent / "configs" / "default.yaml"


def fit(args: Sequence[str] | None = None) -> None:
    """Runs ``fit`` with ``configs/default.yaml``, changed by the flags given, and ``test`` after it."""
    load("commands.cli").main(
        ["fit", "--config", str(DEFAULTS), *(sys.argv[1:] if args is None else args)], then_test=True
    )


if __name__ == "__main__":
    run(fit)
