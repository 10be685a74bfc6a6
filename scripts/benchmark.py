"""Measures speed and memory: ``python scripts/benchmark.py [--groups step ranking] [flags of lightning-lp fit]``."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.__main__ import run

CONFIG = Path(__file__).parent / "configs" / "fast.yaml"


def benchmark(args: Sequence[str] | None = None) -> None:
    """Measures with ``configs/fast.yaml``, changed by the flags given."""
    from lightning_lp.commands.benchmark.command import benchmark

    benchmark(CONFIG, args)


if __name__ == "__main__":
    run(benchmark)
