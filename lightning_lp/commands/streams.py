"""Standard output and error that fail: their reader goes away, as in ``... | head -1``, or a disk is full."""

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_lp.errors import UserError

_STREAMS = (("stdout", 1), ("stderr", 2))


class _Pipe(io.FileIO):
    """A stream that goes on into nothing once nobody reads it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _lead_to_nothing(self.fileno())
            return super().write(data)


@contextmanager
def lasting() -> Iterator[None]:
    """Lets a command go on, and write its files, when nobody reads what it prints any more.

    A broken pipe other than those of standard output and error stays an error.

    Raises:
        UserError: what was printed to standard output cannot be written.
    """
    for name, fd in _STREAMS:
        stream = getattr(sys, name)
        if stream is None:  # closed, as `>&-` does
            _occupy(fd)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and _may_break(stream):
            stream.flush()
            setattr(sys, name, _like(stream))
    try:
        yield
    finally:
        _flush()


def _like(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream as a :class:`_Pipe`."""
    pipe = _Pipe(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        pipe if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(pipe),  # PYTHONUNBUFFERED
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        _lead_to_nothing(sys.stdout.fileno())  # Python would try again at exit, and end with another status
        raise UserError(f"standard output cannot be written: {error.strerror}") from None


def _may_break(stream: Any) -> bool:
    """Whether the stream leads to another process."""
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _occupy(fd: int) -> None:
    """Leads a file descriptor that is free to nothing: the next file to be opened would be printed into."""
    try:
        os.fstat(fd)
    except OSError:
        _lead_to_nothing(fd)


def _lead_to_nothing(fd: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    if nothing != fd:
        os.dup2(nothing, fd)
        os.close(nothing)
