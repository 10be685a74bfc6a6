"""Variants of the model beside tuned baselines, over several seeds: the same as ``lightning-lp ablate``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("ablate")
