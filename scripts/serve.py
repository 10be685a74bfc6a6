"""Serves a trained run: the same as ``lightning-lp serve``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("serve")
