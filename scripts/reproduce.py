"""Puts a fit beside published figures on their files: the same as ``lightning-lp reproduce``."""

from lightning_lp.__main__ import run

if __name__ == "__main__":
    run("reproduce")
