"""Exports a run for use without torch: ``python scripts/export.py --run DIR --out DIR``."""

from lightning_lp.__main__ import run
from lightning_lp.commands.export import export

if __name__ == "__main__":
    run(export)
