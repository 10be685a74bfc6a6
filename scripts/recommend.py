"""Recommends movies: the same as ``lightning-lp recommend``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("recommend")
