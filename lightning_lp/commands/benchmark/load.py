"""Asks an HTTP service for one thing after another, over connections that stay open."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

_OK = (b" 200 ", b" 201 ")


def request(method: str, path: str, body: Any = None) -> bytes:
    """A request of HTTP/1.1 to this machine, with JSON as its body, if it has one."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def ask_all(port: int, requests: Sequence[bytes], connections: int) -> list[float]:
    """Sends each request once, as fast as answers come.

    Args:
        port: the service's, on this machine.
        requests: what is asked, as :func:`request` gives it.
        connections: how many are open at a time; each waits for its answer before it asks again.

    Returns:
        [len(requests)] seconds from each request to the end of its answer, in no order.

    Raises:
        RuntimeError: an answer tells of a problem.
    """
    waiting, seconds = iter(requests), list[float]()

    async def one_after_another() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for asked in waiting:
                start = time.perf_counter()
                writer.write(asked)
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = (line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body = await reader.readexactly(int(next(lengths)))
                if not any(status in head[:20] for status in _OK):
                    raise RuntimeError(f"{asked!r}: {body!r}")
                seconds.append(time.perf_counter() - start)
        finally:
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(one_after_another() for _ in range(connections)))
    return seconds
