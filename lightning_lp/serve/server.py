"""Serves an application over HTTP/1.1 until a signal comes."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from lightning_lp.errors import UserError

_BACKLOG = 2048
"""Connections that wait to be taken."""
_MAX_HEAD = 256 * 1024
"""Bytes of the first line and the headers: a filter may name a thousand ids."""


class ImpatientProtocol(H11Protocol):
    """Closes a connection on which no whole head of a request comes in time: those who ask have its place."""

    seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Waits on, or no longer: a part of a head gives no more time."""
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends waiting."""
        self._stop()
        super().connection_lost(exc)

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        if not self._is_idle:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._is_idle:
            self.transport.close()


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, and does not listen yet.

    Raises:
        UserError: there is no such address, or another process has it.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio lets answers wait
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError as error:
        raise UserError(f"--host {host} --port {port} cannot be had: {error.strerror}; take another port") from error
    return found


def listen(listener: socket.socket) -> None:
    """From here on connections wait, and none is refused."""
    listener.listen(_BACKLOG)


class HangupServer(uvicorn.Server):
    """Does something at each SIGHUP, in a thread of its own; ends if that says that its terminal has gone.

    Args:
        config: as uvicorn takes it.
        on_start: is called once it answers, and hears signals.
        on_hangup: what is done.
    """

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], on_hangup: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start, self._on_hangup, self._had_terminal = on_start, on_hangup, _has_terminal()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer."""
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):  # Windows has none
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        self._on_start()

    def _hang_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            self.should_exit = True
        else:
            threading.Thread(target=self._on_hangup, name="hangup").start()


def serve(app: ASGIApp, listener: socket.socket, on_start: Callable[[], None], on_hangup: Callable[[], None]) -> None:
    """Answers requests, and calls ``on_start`` once it does.

    SIGHUP calls ``on_hangup`` in a thread, other signals let the requests end that are running.
    """
    _allow_connections()
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_MAX_HEAD,
        timeout_graceful_shutdown=10,
    )
    HangupServer(config, on_start, on_hangup).run(sockets=[listener])


def _has_terminal() -> bool:
    return os.isatty(0)


def _allow_connections() -> None:
    """Lets this process have as many files open, connections among them, as the system allows it."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # is not there on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
