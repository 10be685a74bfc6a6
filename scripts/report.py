"""Writes one self-contained page about a run: the same as ``lightning-lp report``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("report")
