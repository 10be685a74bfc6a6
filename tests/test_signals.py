import os
import signal
import time

import pytest

from lightning_lp.__main__ import run
from lightning_lp.checkpointing import signals


class Ends:
    """An object that is stopped by a signal while it is taken down, where Python drops every exception."""

    def __init__(self, signum):
        self.signum = signum

    def __del__(self):
        os.kill(os.getpid(), self.signum)
        time.sleep(0)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_in_a_destructor_is_not_lost(signum, status):
    def waits():
        ends = Ends(signum)
        del ends
        time.sleep(10)

    with signals.exiting(), pytest.raises(SystemExit) as stopped:
        waits()
    assert stopped.value.code == status


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_any_command_ends_with_the_status_of_a_signal(signum, status, capsys):
    def waits(args):
        os.kill(os.getpid(), signum)
        time.sleep(10)

    with pytest.raises(SystemExit) as stopped:
        run(waits, [])
    assert stopped.value.code == status
    assert capsys.readouterr().err == ""


def test_other_mistakes_in_a_destructor_are_reported(monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)

    class Fails:
        def __del__(self):
            raise ValueError("left as it was")

    with signals.exiting():
        fails = Fails()
        del fails
    assert [type(each.exc_value) for each in seen] == [ValueError]
