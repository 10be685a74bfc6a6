"""What was acknowledged is on the disk, once, whatever happens next."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lightning_lp.errors import UserError
from lightning_lp.serve.service import Service
from lightning_lp.serve.store import ConflictError, FullError, RatingStore
from tests.forks import run_fork
from tests.full_disk import NO_MOUNT
from tests.untrained import NUM_MOVIES, recommender_of


def test_a_key_counts_once_and_for_one_request(tmp_path):
    store = RatingStore(tmp_path / "log")
    first = store.append("1", "2", rating=3.5, time=7, key="a")
    assert store.append("1", "2", rating=3.5, time=7, key="a") == first
    assert store.append("1", "2", rating=3.5, time=None, key="a") == first, "sent again later, without a time"
    assert store.append("1", "2", rating=3.5, time=7, key="b").number == 2
    others = (("1", "2", 3.0, 7, False), ("1", "3", 3.5, 7, False), ("1", "2", 3.5, 9, False), ("1", "2", 3.5, 7, True))
    for user, movie, rating, time, removed in others:
        with pytest.raises(ConflictError, match="the idempotency key 'a' was used for another request"):
            store.append(user, movie, rating=rating, time=time, removed=removed, key="a")
    store.close()
    again = RatingStore(tmp_path / "log")
    assert again.append("1", "2", rating=3.5, time=7, key="a") == first, "it is known after a start, too"
    assert [event.number for event in again.events()] == [1, 2]


def test_what_was_written_is_read_again(tmp_path):
    store = RatingStore(tmp_path / "log")
    odd = ["", "'; DROP TABLE event; --", "\x00", "名前", "x" * 5000]
    written = [store.append(text, text, rating=None, time=i, removed=bool(i % 2)) for i, text in enumerate(odd)]
    store.close()
    assert [*RatingStore(tmp_path / "log").events()] == written


def test_one_process_alone_may_write(tmp_path):
    store = RatingStore(tmp_path / "log")
    with pytest.raises(UserError, match="log is in use: another process serves it, end that or name another"):
        RatingStore(tmp_path / "log")
    program = f"from lightning_lp.serve.store import RatingStore; RatingStore({str(tmp_path / 'log')!r})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "is in use" in said.stderr
    store.close()
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_other_files_are_refused_and_left_alone(tmp_path):
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE event (x)")
    other.close()
    (tmp_path / "text").write_text("no database" * 1000)
    before = {name: (tmp_path / name).read_bytes() for name in ("other", "text")}
    with pytest.raises(UserError, match="other is another database, no log of ratings: name another file"):
        RatingStore(tmp_path / "other")
    with pytest.raises(UserError, match="text cannot be used as a log of ratings: file is not a database"):
        RatingStore(tmp_path / "text")
    with pytest.raises(UserError, match=r"cannot be written \(unable to open database file\): the log of ratings"):
        RatingStore(tmp_path / "no folder" / "log")
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "text"]


def test_a_damaged_log_is_refused_and_left_alone(tmp_path):
    store = RatingStore(tmp_path / "log")
    for i in range(300):
        store.append("user", str(i), rating=1.0, time=i)
    store.close()
    whole = (tmp_path / "log").read_bytes()
    damaged = whole[: 2 * 4096] + b"\xaa" * (len(whole) - 2 * 4096)
    (tmp_path / "log").write_bytes(damaged)
    with pytest.raises(UserError, match="log cannot be used as a log of ratings: database disk image is malformed"):
        Service(recommender_of("history"), RatingStore(tmp_path / "log"))
    assert (tmp_path / "log").read_bytes() == damaged


def test_a_full_disk_stores_nothing_loses_nothing_and_goes_on_when_there_is_room(tmp_path):
    store = RatingStore(tmp_path / "log")
    service = Service(recommender_of("history"), store)
    store._database.execute("PRAGMA max_page_count = 12")
    written = []

    def write_until_full() -> None:
        for i in range(1000):
            written.append(service.rate("x" * 150, str(i % NUM_MOVIES), 2.0, i, f"key {i}"))

    with pytest.raises(FullError, match="nothing was stored: the disk is full; send it again once there is room"):
        write_until_full()
    assert 10 < len(written) < 1000
    assert len(service.history("x" * 150)) == min(len(written), NUM_MOVIES)
    assert [*store.events()] == written
    store._database.execute("PRAGMA max_page_count = 1000")
    written.append(service.rate("x" * 150, "3", 5.0, 0, f"key {len(written)}"))
    store.close()
    assert [*RatingStore(tmp_path / "log").events()] == written


def test_a_disk_that_fails_is_not_said_to_be_full(tmp_path):
    store = RatingStore(tmp_path / "log")
    store._database.execute("PRAGMA query_only = 1")
    with pytest.raises(FullError, match=r"log of ratings cannot be written \(attempt to write a readonly database\)$"):
        store.append("1", "2", rating=None, time=0)
    assert ([*store.events()], store.number) == ([], 0)


def test_a_thousand_writes_at_once(tmp_path):
    """Each is sent twice, half of them by another thread at the same time."""
    store = RatingStore(tmp_path / "log")
    service = Service(recommender_of("history"), store)
    barrier = threading.Barrier(16)

    def write(first: int) -> list:
        barrier.wait()
        mine = range(first // 2, 1000, 8)  # two threads have the same
        return [
            service.rate(f"user {i % 7}", str(i % NUM_MOVIES), i % 10 / 2, i, f"key {i}")
            for i in [*mine, *reversed(mine)]
        ]

    with ThreadPoolExecutor(16) as pool:
        acknowledged = [event for events in pool.map(write, range(16)) for event in events]
    events = [*store.events()]
    assert [event.number for event in events] == [*range(1, 1001)]
    assert {event.time for event in events} == {*range(1000)}
    assert len(acknowledged) == 4000
    assert set(acknowledged) == set(events)
    again = Service(service.recommender, store)
    for user in range(7):
        assert service.history(f"user {user}") == again.history(f"user {user}")
        assert service.histories.state(f"user {user}").events == again.histories.state(f"user {user}").events


FULL = """\
import subprocess, sys
from pathlib import Path
from lightning_lp.serve.store import FullError, RatingStore
from tests.full_disk import NO_MOUNT, own_mounts
Path("disk").mkdir()
mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", "disk"]
if not own_mounts() or subprocess.run(mount).returncode:
    sys.exit(NO_MOUNT)
store, written = RatingStore("disk/log"), []
for refused in range(3):
    try:
        while True:
            written.append(store.append("u" * 100, "m" * 100, rating=1.0, time=len(written)))
    except FullError:
        assert [*store.events()] == written
assert len(written) > 20
store.close()
subprocess.run(["mount", "-o", "remount,size=64m", "disk"], check=True)
store = RatingStore("disk/log")
assert [*store.events()] == written
written.append(store.append("u", "m", rating=None, time=0))
store.close()
assert [*RatingStore("disk/log").events()] == written
"""


READONLY = """\
import subprocess, sys
from pathlib import Path
from lightning_lp.errors import UserError
from lightning_lp.serve.store import RatingStore
from tests.full_disk import NO_MOUNT, own_mounts
Path("disk").mkdir()
if not own_mounts() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "disk"]).returncode:
    sys.exit(NO_MOUNT)
RatingStore("disk/log").close()
subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
for name in ("log", "new"):
    try:
        RatingStore(f"disk/{name}")
    except UserError as error:
        assert f"disk/{name} cannot be written (" in str(error), error
        assert str(error).endswith("may be written to; name another file with --ratings"), error
    else:
        raise AssertionError(name)
"""


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_to(tmp_path):
    (tmp_path / "readonly.py").write_text(READONLY)
    said = run_fork(["python", tmp_path / "readonly.py"], cwd=tmp_path)
    if said.returncode == NO_MOUNT:
        pytest.skip("no user may mount a tmpfs here")
    assert said.returncode == 0, said.stderr


@pytest.mark.slow
def test_a_real_disk_that_is_full(tmp_path):
    (tmp_path / "full.py").write_text(FULL)
    said = run_fork(["python", tmp_path / "full.py"], cwd=tmp_path)
    if said.returncode == NO_MOUNT:
        pytest.skip("no user may mount a tmpfs here")
    assert said.returncode == 0, said.stderr


def test_an_entry_is_synced_before_it_is_returned(tmp_path):
    """What SQLite promises under these settings; a power cut cannot be tried here."""
    ask = RatingStore(tmp_path / "log")._database.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,), "FULL"
