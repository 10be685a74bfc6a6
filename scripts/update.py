"""Trains a run on when its data have grown: the same as ``lightning-lp update``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("update")
