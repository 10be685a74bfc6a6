import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_lp.commands import streams
from lightning_lp.errors import UserError


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, stream: object) -> None:
    """Puts a stream in place of standard output or error."""
    monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, f"__{name}__", stream)


def without_reader() -> int:
    """The end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_command_whose_reader_is_gone_goes_on(monkeypatch, name):
    with os.fdopen(without_reader(), "w", encoding="utf-8") as stream:
        stand_in(monkeypatch, name, stream)
        with streams.lasting():
            for _ in range(3):
                print("é" * 100_000, file=getattr(sys, name))
            getattr(sys, name).flush()
        assert os.readlink(f"/proc/self/fd/{stream.fileno()}") == os.devnull


def test_what_is_read_arrives(monkeypatch):
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="latin-1") as stream:
        stand_in(monkeypatch, "stdout", stream)
        with streams.lasting():
            print("é")
    with os.fdopen(read, encoding="latin-1") as reader:
        assert reader.read() == "é\n"


def test_what_is_not_buffered_stays_so(monkeypatch):
    read, write = os.pipe()
    with io.TextIOWrapper(io.FileIO(write, "w"), write_through=True) as stream:
        stand_in(monkeypatch, "stdout", stream)
        with streams.lasting():
            print("x")
            assert os.read(read, 9) == b"x\n"
    os.close(read)


def test_another_broken_pipe_is_an_error():
    pipe = without_reader()
    with pytest.raises(BrokenPipeError), streams.lasting():
        os.write(pipe, b"x")
    os.close(pipe)


def test_a_closed_output_is_none(monkeypatch):
    stand_in(monkeypatch, "stdout", None)
    with streams.lasting():
        print("x")
        assert not sys.stdout.isatty()
    sys.stdout.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_is_refused(monkeypatch):
    with open("/dev/full", "w", encoding="utf-8") as stream:
        stand_in(monkeypatch, "stdout", stream)
        with pytest.raises(UserError, match="standard output cannot be written: No space left"), streams.lasting():
            print("x")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "status", "said"),
    [
        ("|", 0, ""),
        (">&-", 0, ""),
        (">/dev/full", 2, "No space left on device\n"),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_end_of_the_process(out, status, said, unbuffered):
    """What Python itself does at its end, with the output that nobody took."""
    command = f'"{sys.executable}" -m lightning_lp --help {out if out != "|" else ""}'
    pipe = without_reader()
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    end = subprocess.run(["bash", "-c", command], env=env, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(pipe)
    assert end.returncode == status
    assert end.stderr == said or (said and end.stderr.startswith("error: ") and end.stderr.endswith(said))
