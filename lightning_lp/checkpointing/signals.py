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
AGAIN_S = 0.01


class Stopped(SystemExit):
    """Ends the process with the shell's status of a signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@contextmanager
def exiting() -> Iterator[None]:
    """Lets a signal end the process with status 128 + its number: 143 for SIGTERM, 130 for Ctrl-C.

    Lightning by itself gives 1 for Ctrl-C and may give 0 for SIGTERM. Python drops what is raised in a
    destructor or while it collects garbage: the signal then comes again, a moment later.
    """
    pid = os.getpid()
    hook = sys.unraisablehook

    def end(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:  # not in a worker that samples batches: its parent ends it
            raise Stopped(signum)

    def again(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            main = threading.main_thread().ident
            threading.Timer(AGAIN_S, signal.pthread_kill, [main, unraisable.exc_value.signum]).start()
        else:
            hook(unraisable)

    previous, sys.unraisablehook = _install(end), again
    try:
        yield
    finally:
        sys.unraisablehook = hook
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
            raise Stopped(signum)
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
