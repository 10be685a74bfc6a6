"""Connections of any kind: broken, slow, idle, and very many."""

import socket
import subprocess
import sys
import time

import pytest
import uvicorn
from uvicorn.server import ServerState

from lightning_lp.serve import server
from lightning_lp.serve.server import ImpatientProtocol
from tests.serve.servers import served


class Transport:
    """What a protocol writes to."""

    is_closed = False

    def get_extra_info(self, name):
        return None

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def write(self, data):
        pass


class Clock:
    """An event loop whose time is told."""

    def __init__(self):
        self.waiting = []

    def call_later(self, seconds, call):
        handle = type("Handle", (), {"cancel": lambda self: waiting.remove(entry)})()
        entry, waiting = (seconds, call), self.waiting
        waiting.append(entry)
        return handle


def test_part_of_a_head_gives_no_more_time():
    config = uvicorn.Config(lambda: None, lifespan="off", log_config=None)
    config.load()
    clock, transport = Clock(), Transport()
    protocol = ImpatientProtocol(config, ServerState(), {}, _loop=clock)
    protocol.connection_made(transport)
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    protocol.data_received(b"Host: x\r\n")
    ((seconds, give_up),) = clock.waiting
    assert seconds == 10.0
    give_up()
    assert transport.is_closed


TERMINAL = """\
import os, pty, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-m", "lightning_lp", "serve", "--port", "0", *sys.argv[1:]])
said = b""
while b"Ctrl-C ends it" not in said:
    said += os.read(terminal, 1000)
os.kill(pid, signal.SIGHUP)
while said.count(b"serving ") < 2:
    said += os.read(terminal, 1000)
os.close(terminal)
end = time.monotonic() + 60
while os.waitpid(pid, os.WNOHANG) == (0, 0):
    if time.monotonic() > end:
        os.kill(pid, signal.SIGKILL)
        sys.exit("it runs on")
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_a_hangup_is_a_wish_and_a_terminal_that_goes_is_the_end(run_folder, tmp_path):
    pytest.importorskip("pty")
    command = [sys.executable, "-c", TERMINAL, "--run", run_folder, "--ratings", tmp_path / "log"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.slow
def test_broken_slow_and_idle_connections_do_not_stop_it(run_folder, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle: list[socket.socket] = []
    try:
        with served(tmp_path, "--run", run_folder, "--ratings", tmp_path / "log") as running:
            address = running.host, running.port
            for text in (b"\x00" * 100, b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"A" * 300_000, b"\x16\x03\x01"):
                with socket.create_connection(address) as broken:
                    broken.sendall(text)
                    assert running.ask("GET", "/health")[0] == 200
            start = time.monotonic()
            slow = socket.create_connection(address)
            idle.append(slow)
            slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
            for _ in range(min(10_000, hard - 1_000)):
                idle.append(socket.create_connection(address))
            first = time.monotonic()
            assert running.ask("GET", "/v1/recommendations?user=7")[0] == 200
            assert time.monotonic() - first < 10
            slow.settimeout(60)
            while time.monotonic() - start < server.ImpatientProtocol.seconds + 1:
                time.sleep(0.2)
                slow.sendall(b"x") if time.monotonic() - start < 8 else None
            assert slow.recv(1) == b"", "it was closed, though something came every now and then"
            assert running.ask("GET", "/v1/recommendations?user=7")[0] == 200
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
