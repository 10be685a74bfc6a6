"""What SIGTERM and Ctrl-C do: end with the shell's exit status, in training only after a checkpoint."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def exiting() -> Iterator[None]:
    """Lets a signal end the process with status 128 + its number: 143 for SIGTERM, 130 for Ctrl-C.

    Lightning by itself gives 1 for Ctrl-C and may give 0 for SIGTERM.
    """
    pid = os.getpid()

    def end(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:  # not in a worker that samples batches: its parent ends it
            raise SystemExit(128 + signum)

    previous = _install(end)
    try:
        yield
    finally:
        _restore(previous)


class DeferredSignals:
    """Remembers the first signal for a better moment; the second ends the process at once.

    Attributes:
        received: number of the signal, or none yet.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        self._pid = os.getpid()

    def install(self) -> None:
        """Takes the signals."""
        self.received, self._pid = None, os.getpid()
        self._previous = _install(self._handle)

    def restore(self) -> None:
        """Gives them back to whoever had them before."""
        _restore(self._previous)
        self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        if self.received is not None:
            raise SystemExit(128 + signum)
        self.received = signum
        print("stopping after a checkpoint; once more to stop at once", file=sys.stderr, flush=True)


def _install(handler: Any) -> dict[int, Any]:
    """Sets a handler for all signals. Returns those before; Python allows it in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in SIGNALS}


def _restore(previous: dict[int, Any]) -> None:
    for signum, handler in previous.items():
        signal.signal(signum, handler)
