"""Compares a run with the baselines: ``python scripts/compare.py [--run DIR] [--quick] [--part test]``."""

from collections.abc import Sequence

from lightning_lp.__main__ import run


def compare(args: Sequence[str] | None = None) -> None:
    """Runs the comparison."""
    from lightning_lp.commands.compare import compare

    compare(args)


if __name__ == "__main__":
    run(compare)
