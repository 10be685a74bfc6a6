"""Exports a run for use without torch: the same as ``lightning-lp export``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("export")
