"""Measures recommendations for users the model never saw: the same as ``lightning-lp new-users``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("new-users")
