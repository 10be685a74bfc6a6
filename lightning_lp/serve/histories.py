"""What users have done: what the model knows of them, and the ratings that came in since."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from lightning_lp.data.lookup import UnknownError, known_indices, look_up_one
from lightning_lp.recommend.histories import filled
from lightning_lp.recommend.profiles import History
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.serve.store import Event, RatingStore


@dataclass(frozen=True, eq=False)
class UserState:
    """A user at one moment. It never changes: an event makes another.

    Attributes:
        user: the user's id, as the model has it or as it came in.
        is_known: whether the model was trained on it.
        events: of each movie that was rated or taken back since, by index, the last event; the latest last.
    """

    user: int | str
    is_known: bool
    events: Mapping[int, Event] = field(default_factory=lambda: MappingProxyType({}))


class Histories:
    """The state of each user: that of the model, with the events of a log on top.

    Whoever writes to the log, an event counts from the next question on.

    Args:
        recommender: the model.
        store: the log; events of movies that the model does not know are left out.

    Attributes:
        num_unknown: how many events are of movies that the model does not know.
    """

    def __init__(self, recommender: Recommender, store: RatingStore) -> None:
        self._recommender, self._store, self._lock = recommender, store, threading.Lock()
        self._states: dict[int | str, UserState] = {}
        self._read = self.num_unknown = 0
        self.catch_up()

    def catch_up(self) -> None:
        """Takes over the events that are new in the log.

        Raises:
            UserError: the log is damaged.
        """
        if self._read == self._store.number:
            return
        with self._lock:
            for event in self._store.events(after=self._read):
                movie = look_up_one(self._recommender.movies, event.movie)
                if movie < 0:
                    self.num_unknown += 1
                else:
                    self._apply(event, movie)
                self._read = event.number

    @property
    def num_changed(self) -> int:
        """How many users have ratings that came in, or had some taken back."""
        self.catch_up()
        return sum(bool(state.events) for state in [*self._states.values()])

    def state(self, user: str) -> UserState:
        """A user that is known to the model or has rated something since; the same object until an event comes.

        Raises:
            UnknownError: neither.
        """
        self.catch_up()
        found, is_known = self._named(user)
        if (state := self._states.get(found)) is not None:
            return state
        if not is_known:
            raise UnknownError(f"user {user!r} is unknown: the model was not trained on it, and it has rated nothing")
        return self._states.setdefault(found, UserState(found, is_known))

    def plain(self, user: str) -> str:
        """One way to write a user's id, whichever way it was given."""
        return str(self._named(user)[0])

    def _apply(self, event: Event, movie: int) -> None:
        user, is_known = self._named(event.user)
        before = self._states.get(user)
        events = {} if before is None else {key: value for key, value in before.events.items() if key != movie}
        if not event.removed or (is_known and movie in self._rated_before(user)):
            events[movie] = event
        if events or is_known:
            self._states[user] = UserState(user, is_known, MappingProxyType(events))
        else:
            self._states.pop(user, None)

    def has_rated(self, user: str, movie: str) -> bool:
        """Whether a user has a rating of a movie.

        Raises:
            UnknownError: the user or the movie is unknown.
        """
        state = self.state(user)
        (index,) = known_indices(self._recommender.movies, [movie], "movie").tolist()
        if index in state.events:
            return not state.events[index].removed
        return state.is_known and index in self._rated_before(state.user)

    def history(self, state: UserState) -> History:
        """What the model knows of a user, then what came in, as :meth:`Recommender.new_profile` takes it."""
        read = self._recommender.edge_attrs
        none = np.array([], dtype=np.int64)
        known = self._recommender.history(state.user) if state.is_known else History(none, none)
        kept = np.array([movie not in state.events for movie in known.movies.tolist()], dtype=bool)
        seen = [movie for movie in known.seen.tolist() if movie not in state.events]
        given = [(movie, event) for movie, event in state.events.items() if not event.removed]
        links = [(movie, event) for movie, event in given if self.is_link(event.rating)]
        seen += [movie for movie, event in given if not self.is_link(event.rating)]
        ratings = times = None
        if "rating" in read:
            before = np.array([]) if known.ratings is None else known.ratings[kept]
            came = [np.nan if event.rating is None else event.rating for _, event in links]
            ratings = filled(np.append(before, np.array(came, dtype=np.float64)))
        if "time" in read:
            before = none if known.times is None else known.times[kept]
            times = np.append(before, np.array([event.time for _, event in links], dtype=np.int64))
        movies = np.append(known.movies[kept], np.array([movie for movie, _ in links], dtype=np.int64))
        return History(movies, np.array(seen, dtype=np.int64), ratings, times)

    def is_as_trained(self, state: UserState) -> bool:
        """Whether a user has done what the model knows, no more and no less, as far as the model reads it.

        So it is once ratings that came in have been trained on: a model keeps its own vector of such a user.
        """
        if not state.events or not state.is_known:
            return not state.events
        return _is_same(self.history(state), self.history(UserState(state.user, is_known=True)))

    def is_link(self, rating: float | None) -> bool:
        """Whether a rating is high enough to be a link, by the run's ``min_rating``."""
        least = self._recommender.min_rating
        return least is None or (rating is not None and rating >= least)

    def _named(self, user: str) -> tuple[int | str, bool]:
        """A user's id, whichever way it was given, and whether the model knows it."""
        users = self._recommender.users
        index = look_up_one(users, user)
        return (users.ids.item(index), True) if index >= 0 else (users.plain(user), False)

    def _rated_before(self, user: int | str) -> set[int]:
        """The movies that the model knows to be rated by a user."""
        return set(self._recommender.profile(user).seen.tolist())


def _is_same(one: History, other: History) -> bool:
    """Whether two histories have the same in them, in whatever order."""
    if {*one.seen.tolist()} != {*other.seen.tolist()} or len(one.movies) != len(other.movies):
        return False
    mine, theirs = one.movies.argsort(), other.movies.argsort()
    for ours, others in ((one.movies, other.movies), (one.ratings, other.ratings), (one.times, other.times)):
        if ours is None or others is None:
            if ours is not others:
                return False
        elif not np.array_equal(ours[mine], others[theirs]):
            return False
    return True
