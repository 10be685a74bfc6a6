"""A service in a process of its own, as a user starts it, and clients that talk to it."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.forks import Fork


class Server:
    """A process that runs ``lightning-lp serve`` with these options, at a port that is free.

    Args:
        folder: its current folder.
        options: beside the port.
    """

    def __init__(self, folder: Path, *options: object) -> None:
        self._said = folder / "said.txt"
        with self._said.open("w") as file:
            self.process = Fork(
                ["python", "-m", "lightning_lp", "serve", "--port", "0", *map(str, options)],
                cwd=folder,
                stdout=file.fileno(),
                stderr=file.fileno(),
            )
        end = time.monotonic() + 120
        while not (found := re.search(r" at http://(\S+):(\d+) after", self.said)):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.01)
        self.host, self.port = found[1].strip("[]"), int(found[2])

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._said.read_text()

    @property
    def address(self) -> str:
        """Where it is asked."""
        return f"http://{self.host}:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and content of an answer."""
        link = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            told = {"Content-Type": "application/json", **headers}
            link.request(method, path, None if body is None else json.dumps(body), told)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            link.close()


@contextmanager
def served(folder: Path, *options: object) -> Iterator[Server]:
    """A server that is killed in the end."""
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.process.kill_group()
        server.process.wait(60)
