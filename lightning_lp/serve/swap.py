"""Another model takes the place of the one that answers, while requests run."""

import ctypes
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from lightning_lp.data.ids import IdMap
from lightning_lp.errors import UserError
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.serve.service import Service

_MIN_KEPT = 0.5
"""Share of the ratings that are served now, and that the next model must know: fewer, and its users are others."""


class RefusedError(UserError):
    """No other model has taken the place of the one that answers."""


class Swap:
    """The service that answers, and how the next takes its place.

    A request takes :attr:`service` once, and is answered by it to its end. The next service is made and warmed aside;
    then one reference changes. Both read one log, so that no rating is missed whichever of them wrote it. The memory
    of the former is free once its last request has been answered.

    Args:
        service: the first.
        load: makes the next. None: there is never another.

    Attributes:
        service: what answers.
        swaps: how many times another has taken its place.
        refusals: how many times it was asked for, and refused.
    """

    def __init__(self, service: Service, load: Callable[[], Service] | None = None) -> None:
        self.service, self._load = service, load
        self.swaps = self.refusals = 0
        self._loading, self._known = threading.Lock(), weakref.WeakSet([service])

    @property
    def num_in_memory(self) -> int:
        """How many services are in memory: the one that answers, and those whose last requests still run."""
        return len(self._known)

    def reload(self, *, wait: bool = False) -> Service:
        """Loads what there is now, and lets it answer.

        Args:
            wait: for another thread that does the same, and then load again.

        Returns:
            What answers now.

        Raises:
            RefusedError: another thread does the same, what is there is damaged, or it is of other data. What answered
                before answers on.
        """
        if not self._loading.acquire(blocking=wait):
            raise RefusedError("a model is being loaded already: ask again when it has ended")
        try:
            self.service = self._next()
            self._known.add(self.service)
            self.swaps += 1
            _give_back()
            return self.service
        except (UserError, OSError) as error:
            self.refusals += 1
            raise RefusedError(f"{error}; {self.service.name} is served on") from error
        finally:
            self._loading.release()

    def _next(self) -> Service:
        if self._load is None:
            raise UserError("this service was made with one model alone")
        service = self._load()
        check_same_data(self.service.recommender, service.recommender)
        service.warm()
        return service


def _give_back() -> None:
    """Lets the system have the memory that is free, of which glibc would keep the more the more threads have had it."""
    with suppress(AttributeError, OSError, TypeError):  # another library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def check_same_data(before: Recommender, now: Recommender) -> None:
    """Compares the data of two models: the later may know more users, movies and ratings.

    Raises:
        UserError: it lacks users or movies, or most of the ratings, that the earlier knows.
    """
    users, movies = (
        _kept(kind, former, later)
        for kind, former, later in (("user", before.users, now.users), ("movie", before.movies, now.movies))
    )
    former = np.repeat(users, np.diff(before.seen_indptr)) * len(now.movies) + movies[before.seen_movies]
    later = np.repeat(np.arange(len(now.users)), np.diff(now.seen_indptr)) * len(now.movies) + now.seen_movies
    kept = np.isin(former, later, assume_unique=True).mean() if len(former) else 1.0
    if kept < _MIN_KEPT:
        raise UserError(f"of the ratings that are served, the run knows {kept:.0%}: it is of other data")


def _kept(kind: str, before: IdMap, now: IdMap) -> NDArray[np.int64]:
    """The index in ``now`` of each id in ``before``: [len(before)] int64."""
    is_alike = before.ids.dtype == now.ids.dtype
    index = now.index(before.ids) if is_alike else now.index_of_text(map(str, before.ids.tolist()))
    lost = np.flatnonzero(index < 0)
    if len(lost):
        raise UserError(
            f"the run lacks {len(lost):,} of the {len(before):,} {kind}s that are served, the first {kind} "
            f"{str(before.ids[lost[0]])!r}: it is of other data"
        )
    return index
