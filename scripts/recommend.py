"""Recommends movies: ``python scripts/recommend.py --user 42``."""

from lightning_lp.__main__ import run
from lightning_lp.commands.recommend import recommend

if __name__ == "__main__":
    run(recommend)
