"""Searches settings of the model on validation: the same as ``lightning-lp tune``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("tune")
