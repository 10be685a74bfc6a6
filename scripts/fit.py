"""Trains a model, then tests its best checkpoint: the same as ``lightning-lp fit``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("fit")
