"""Imports that take seconds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Lets what is imported stay.

    A quarter of that time would be spent on looking for garbage among the modules, classes and functions.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
