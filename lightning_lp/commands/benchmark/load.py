"""Asks an HTTP service for one thing after another, over connections that stay open."""

import asyncio
import time
from collections.abc import Sequence


async def ask_all(host: str, port: int, paths: Sequence[str], connections: int) -> list[float]:
    """Asks for each path once, as fast as answers come.

    Args:
        host: the service's address.
        port: its port.
        paths: what to ask for, with ``GET``.
        connections: how many are open at a time; each waits for its answer before it asks again.

    Returns:
        [len(paths)] seconds from each request to the end of its answer, in no order.

    Raises:
        RuntimeError: an answer is none with status 200.
    """
    waiting, seconds = iter(paths), list[float]()

    async def one_after_another() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for path in waiting:
                start = time.perf_counter()
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
                body = await reader.readexactly(length)
                if " 200 " not in lines[0]:
                    raise RuntimeError(f"{path}: {lines[0]}: {body[:200]!r}")
                seconds.append(time.perf_counter() - start)
        finally:
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(one_after_another() for _ in range(connections)))
    return seconds
