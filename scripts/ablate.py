"""Variants of the model beside tuned baselines, over several seeds: ``python scripts/ablate.py``."""

from collections.abc import Sequence

from lightning_lp.__main__ import run


def ablate(args: Sequence[str] | None = None) -> None:
    """Runs the study."""
    from lightning_lp.commands.ablate import ablate

    ablate(args)


if __name__ == "__main__":
    run(ablate)
