"""The ratings that come in while a service runs: a log on the disk, each entry there before it is acknowledged."""

import sqlite3
import threading
import time as clock
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lightning_lp.errors import UserError

_APPLICATION = 0x6C6C705F  # "llp_": what kind of file it is
_VERSION = 1
_TABLE = """\
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    user TEXT NOT NULL,
    movie TEXT NOT NULL,
    rating REAL,
    time INTEGER NOT NULL,
    removed INTEGER NOT NULL
) STRICT"""
_COLUMNS = "number, user, movie, rating, time, removed"
_AT_ONCE = 1000


class Event(NamedTuple):
    """One entry of the log: a user has rated a movie, or has taken a rating back.

    Attributes:
        number: its place in the log, from 1.
        user: the user's id.
        movie: the movie's id.
        rating: as given; None: the user has seen it and says no more.
        time: of the rating, in seconds since 1970.
        removed: whether the rating was taken back.
    """

    number: int
    user: str
    movie: str
    rating: float | None
    time: int
    removed: bool


class ConflictError(UserError):
    """An idempotency key comes again, with another request."""


class FullError(UserError):
    """The disk is full, or the log cannot be written for another reason: nothing was stored."""


class RatingStore:
    """A log of ratings in an SQLite file, of which one process alone may write.

    What :meth:`append` returns is on the disk, whatever happens next (write-ahead log, ``synchronous=FULL``). An append
    that fails leaves the log as it was.

    Args:
        path: the file; it is made if it is not there.

    Attributes:
        number: of the last entry; 0: there is none.
        writing: held by those who look at what is there before they write.

    Raises:
        UserError: it cannot be opened, is no such log, or another process has it.

    Examples:
        >>> from lightning_lp.serve.store import RatingStore
        >>> store = RatingStore("ratings.sqlite")
        >>> event = store.append("7", "260", rating=4.5, time=1_000_000_000, key="abc")
        >>> store.append("7", "260", rating=4.5, time=1_000_000_000, key="abc") == event  # sent twice, it counts once
        True
        >>> store.close()
        >>> [event.movie for event in RatingStore("ratings.sqlite").events()]
        ['260']
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self._lock, self.writing = Path(path), threading.Lock(), threading.Lock()
        try:
            self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise UserError(f"{self.path} is in use: another process serves it, end that or name another") from None
            raise self._unusable(error) from error

    def _open(self) -> None:
        ask = self._database.execute
        (application,), (version,) = (ask(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
        is_new = not ask("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_new and (application, version) != (_APPLICATION, _VERSION):
            raise UserError(f"{self.path} is another database, no log of ratings: name another file")
        self.number: int = 0 if is_new else ask("SELECT coalesce(max(number), 0) FROM event").fetchone()[0]
        ask("PRAGMA locking_mode=EXCLUSIVE")  # for as long as this process lives: two writers cannot interleave
        ask("PRAGMA journal_mode=WAL")
        ask("PRAGMA synchronous=FULL")
        with self._transaction():
            ask(_TABLE)
            ask(f"PRAGMA application_id={_APPLICATION}")
            ask(f"PRAGMA user_version={_VERSION}")

    def events(self, after: int = 0) -> Iterator[Event]:
        """The entries that are on the disk, the earliest first.

        Args:
            after: the number of an entry: those that came later.

        Raises:
            UserError: the file is damaged.
        """
        while found := self._some_events(after):
            yield from found
            after = found[-1].number

    def _some_events(self, after: int) -> list[Event]:
        """The next few; never one that is being written, and may fail."""
        query = f"SELECT {_COLUMNS} FROM event WHERE number > ? ORDER BY number LIMIT {_AT_ONCE}"
        try:
            with self._lock:
                return [_event(row) for row in self._database.execute(query, [after])]
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def append(
        self,
        user: str,
        movie: str,
        *,
        rating: float | None,
        time: int | None,
        removed: bool = False,
        key: str | None = None,
    ) -> Event:
        """Writes an entry, and returns once it is on the disk.

        Args:
            user: the user's id.
            movie: the movie's id.
            rating: as given, or None.
            time: in seconds since 1970. None: now.
            removed: whether the rating is taken back.
            key: idempotency key: an entry that has it already is returned, and nothing is written.

        Raises:
            ConflictError: the entry with that key is of another user, movie, rating or time.
            FullError: the disk is full, or the log cannot be written; nothing was stored.
        """
        with self._lock:
            if key is not None and (known := self.by_key(key)) is not None:
                asked = (user, movie, rating, known.time if time is None else time, removed)
                if known[1:] != asked:
                    raise ConflictError(f"the idempotency key {key!r} was used for another request: take a new one")
                return known
            time = int(clock.time()) if time is None else time
            values = (key, user, movie, rating, time, removed)
            try:
                with self._transaction():
                    cursor = self._database.execute(
                        "INSERT INTO event (idempotency_key, user, movie, rating, time, removed) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        values,
                    )
            except sqlite3.Error as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise FullError("nothing was stored: the disk is full; send it again once there is room") from error
                raise FullError(f"nothing was stored: the log of ratings cannot be written ({error})") from error
            self.number = int(cursor.lastrowid or 0)
            return Event(self.number, user, movie, rating, time, removed)

    def by_key(self, key: str) -> Event | None:
        """The entry with an idempotency key."""
        row = self._database.execute(f"SELECT {_COLUMNS} FROM event WHERE idempotency_key = ?", [key]).fetchone()
        return None if row is None else _event(row)

    def close(self) -> None:
        """Closes the file, and lets others have it."""
        with self._lock:
            self._database.close()

    def _unusable(self, error: sqlite3.Error) -> UserError:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return UserError(
                f"{self.path} cannot be written ({error}): the log of ratings needs a folder that is there and may be "
                "written to; name another file with --ratings"
            )
        return UserError(f"{self.path} cannot be used as a log of ratings: {error}; name another file with --ratings")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def _event(row: tuple[int, str, str, float | None, int, int]) -> Event:
    return Event(*row[:5], removed=bool(row[5]))
