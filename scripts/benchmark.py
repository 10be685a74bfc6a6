"""Measures speed and memory: the same as ``lightning-lp benchmark``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("benchmark")
