"""Compares a run with the baselines: the same as ``lightning-lp compare``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("compare")
