"""Serves an application over HTTP/1.1 until a signal comes."""

import socket

import uvicorn
from starlette.types import ASGIApp

from lightning_lp.errors import UserError

_BACKLOG = 2048
"""Connections that wait to be taken."""
_MAX_HEAD = 256 * 1024
"""Bytes of the first line and the headers: a filter may name a thousand ids."""


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


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answers requests; a signal lets those that are running end."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
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
    uvicorn.Server(config).run(sockets=[listener])
