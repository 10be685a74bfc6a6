"""Runs Python programs as fresh processes do, without the seconds that imports take.

One process imports everything once and then does nothing but fork. Each child gets its own arguments, folder,
environment, standard streams and process group, runs a script or module as ``__main__``, and ends as any interpreter
ends. If it trains in several processes, the others come from the same place, into the same group.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).parents[1]
SOCKET = "LIGHTNING_LP_TESTS_FORKS"
"""Environment: where the process that forks is to be found."""
_IMPORTS = ("commands.cli", "commands.tune.search", "commands.compare")


class Fork:
    """A program that runs: what is needed of :class:`subprocess.Popen`.

    Args:
        command: as of a fresh interpreter; its first word is of no importance. A script's path, or ``-m`` and a module.
        cwd: its current folder. Default: that of this process.
        env: its environment. Default: that of this process.
        stdout: descriptor of its standard output. Default: that of this process.
        stderr: the same of standard error.
        group: the process group that it joins. Default: one of its own.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        stdout: int = 1,
        stderr: int = 2,
        group: int = 0,
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(os.environ.get(SOCKET) or _start())
        what = {
            "argv": [os.fspath(word) for word in command[1:]],
            "cwd": os.fspath(cwd or Path.cwd()),
            "group": group,
            "env": {**(os.environ if env is None else env), SOCKET: os.environ[SOCKET]},
        }
        with open(os.devnull) as nothing:
            socket.send_fds(self._link, [json.dumps(what).encode() + b"\n"], [nothing.fileno(), stdout, stderr])
        self._reader = self._link.makefile("r")
        self.pid = int(self._reader.readline())

    def poll(self) -> int | None:
        """Its exit status, negative if it was killed; None while it runs."""
        if self.returncode is None and select.select([self._link], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit status."""
        if self.returncode is None:
            if not select.select([self._link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill_group(self) -> None:
        """Kills it and whatever of its process group has outlived it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(int(self._reader.readline()))
        self._reader.close()
        self._link.close()


def run_fork(
    command: Sequence[str | os.PathLike[str]], timeout: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """As :func:`subprocess.run`, with what it said: standard output, unless given, and standard error."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Fork(command, **{"stdout": out.fileno(), "stderr": err.fileno()} | options)
        try:
            status = process.wait(timeout)
        finally:
            process.kill_group()
        said = [file.seek(0) or file.read() for file in (out, err)]
    return subprocess.CompletedProcess(command, status, *said)


def _start() -> str:
    """Starts the process that forks, once; it ends with this one. Returns its address."""
    folder = tempfile.mkdtemp(prefix="forks-")
    address = f"{folder}/socket"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}{os.pathsep}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forks", address],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not os.path.exists(address):
        assert process.poll() is None, "the process that forks has ended"
        time.sleep(0.02)
    os.environ[SOCKET] = address
    atexit.register(process.kill)
    return address


def _serve(address: str) -> list[str] | None:
    """Forks at each request. Returns in the child alone: its arguments."""
    _warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)
    os.rename(f"{address}.new", address)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return None  # the tests have ended
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _wait(link)
        link.close()


def _warm_up() -> None:
    """Imports, loads and compiles all that a training needs.

    Arrow alone leaves a thread, and starts another after a fork.
    """
    for name in _IMPORTS:
        import_module(f"lightning_lp.{name}")
    import_module("tests.killing")
    main, journeys = import_module("lightning_lp.commands.cli").main, import_module("tests.journeys")
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, suppress(SystemExit):
        os.chdir(folder)
        write_movielens = import_module("lightning_lp.data.sources.synthetic").write_movielens
        write_movielens(Path("movies"), num_users=40, num_movies=60, num_ratings=900, seed=0)
        flags = ["--data.root=movies", "--trainer.fast_dev_run=1", *journeys.QUIET, *journeys.SMALL]
        main(["fit", *flags])
    os.chdir(here)


def _wait(link: socket.socket) -> list[str]:
    """Forks once more, tells number and status of the child, and ends. Returns in the child alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, descriptors, _, _ = socket.recv_fds(link, 1 << 20, 3)
    while not text.endswith(b"\n"):
        text += link.recv(1 << 20)
    pid = os.fork()
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        link.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        try:
            link.sendall(f"{status}\n".encode())
        finally:
            os._exit(0)
    link.close()
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    what = json.loads(text)
    os.setpgid(0, what["group"])
    os.chdir(what["cwd"])
    os.environ.clear()
    os.environ.update(what["env"])
    argv: list[str] = what["argv"]
    return argv


def _be(argv: list[str]) -> None:
    """Is the program from now on."""
    from pytorch_lightning.strategies.launchers import subprocess_script

    others = partial(Fork, group=os.getpgrp())
    subprocess_script.subprocess = SimpleNamespace(Popen=others)  # type: ignore[assignment]
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        sys.path[0] = str(Path(argv[0]).parent)
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    given = _serve(sys.argv[1])
    if given:
        _be(given)
