"""What a service answers, without a word of HTTP."""

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_lp.data.lookup import UnknownError, known_indices
from lightning_lp.errors import UserError
from lightning_lp.recommend.filters import Catalogue, Filter
from lightning_lp.recommend.histories import filled
from lightning_lp.recommend.profiles import History, Profile
from lightning_lp.recommend.reasons import Why
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.recommend.topk import Recommendation
from lightning_lp.serve.histories import Histories, UserState
from lightning_lp.serve.store import Event, RatingStore

_MAX_BYTES = 2**28
"""Of the scores of users that were asked for last, which are kept: four for each movie."""


class NothingToGoByError(UserError):
    """A user without a liked movie, and a model that needs one."""


class Asked(NamedTuple):
    """Somebody that lists are made for.

    Attributes:
        profile: what they are made from.
        scores: [num_movies] float32, the logit of each movie.
    """

    profile: Profile
    scores: NDArray[np.float32]


class RatedMovie(NamedTuple):
    """One line of a user's history.

    Attributes:
        movie_id: the movie's id, as in the data.
        title: its title.
        genres: its genres.
        rating: None: unknown; a model that does not read ratings does not keep them.
        time: in seconds since 1970. None: unknown, likewise.
        is_new: whether it came in while the service ran, after training.
    """

    movie_id: int | str
    title: str
    genres: tuple[str, ...]
    rating: float | None
    time: int | None
    is_new: bool


class Service:
    """Answers from one model and a log of ratings, which others may share. Any number of threads may ask.

    A user whose history is that of training gets what :meth:`Recommender.recommend` gives, any other what
    :meth:`Recommender.recommend_new` gives for the same history, bit for bit.

    Args:
        recommender: the model.
        store: the log; what it holds already counts.
        name: what the model is called.

    Attributes:
        recommender: the model.
        name: what it is called.
        histories: what users have done.
        catalogue: the movies, as filters look at them.
    """

    def __init__(self, recommender: Recommender, store: RatingStore, name: str = "model") -> None:
        self.recommender, self.name, self._store = recommender, name, store
        self.histories = Histories(recommender, store)
        self.catalogue = Catalogue(recommender.movies, recommender.titles, recommender.genres)
        self._model = ThreadPoolExecutor(1, "model")
        """Computes: encoders may set what they compute with, and each thread would keep memory for itself."""
        this: Service = weakref.proxy(self)  # no cycle: once nobody asks any more, its memory is free at once
        most = max(1, _MAX_BYTES // (4 * len(recommender.movies)))
        self._asked = lru_cache(most)(lambda state: this._asked_of(state))

    def user(self, user: str) -> Asked:
        """A user, with its scores.

        Raises:
            UnknownError: the user is unknown.
            NothingToGoByError: it has no liked movie, and the model needs one.
        """
        return self._asked(self.histories.state(user))

    def nobody(self, history: History) -> Asked:
        """Somebody who is no user, with the scores.

        Raises:
            NothingToGoByError: it has no liked movie, and the model needs one.
        """
        if not len(history.movies) and self.recommender.needs_history:
            raise NothingToGoByError("this model recommends from liked movies, and there is none: rate one first")
        return self._model.submit(self._scored, self.recommender.new_profile, history).result()

    def history_of(
        self, movies: Sequence[str], ratings: Sequence[float | None], times: Sequence[int | None]
    ) -> History:
        """What somebody has done who is no user; movies rated below the run's ``min_rating`` are seen, not liked.

        Args:
            movies: ids.
            ratings: of each; None: unknown.
            times: of each, or None of each: then the last is the latest.

        Raises:
            UserError: a movie is unknown, or some have a time and some have none.
        """
        index = known_indices(self.recommender.movies, movies, "movie")
        is_timed = [time is not None for time in times]
        if any(is_timed) and not all(is_timed):
            raise UserError(f"movie {movies[is_timed.index(False)]!r} has no time, and others have: give all or none")
        is_link = np.array([rating is None or self.histories.is_link(rating) for rating in ratings], dtype=bool)
        given = np.array([np.nan if rating is None else rating for rating in ratings], dtype=np.float64)[is_link]
        read = self.recommender.edge_attrs
        return History(
            index[is_link],
            index[~is_link],
            filled(given) if "rating" in read else None,
            np.array(times, dtype=np.int64)[is_link] if "time" in read and any(is_timed) else None,
        )

    def named(self, movies: Sequence[int | str]) -> list[tuple[int | str, str, tuple[str, ...]]]:
        """Id, title and genres of movies.

        Raises:
            UnknownError: one is unknown.
        """
        index = known_indices(self.recommender.movies, movies, "movie").tolist()
        ids, titles, genres = self.recommender.movies.ids, self.recommender.titles, self.recommender.genres
        return [(ids.item(i), titles[i], genres[i]) for i in index]

    def recommend(self, asked: Asked, k: int, wanted: Filter) -> list[Recommendation]:
        """The best of the movies that are wanted.

        Raises:
            UserError: a movie or genre is unknown.
        """
        hidden = np.append(asked.profile.seen, self.catalogue.hidden(wanted))
        return self.recommender.list_of_scores(asked.scores, hidden, k)

    def similar(self, movie: str, k: int) -> list[Recommendation]:
        """The movies most like one.

        Raises:
            UnknownError: the movie is unknown.
        """
        return self._model.submit(self.recommender.similar, movie, k).result()

    def why(self, asked: Asked, movies: list[Recommendation]) -> list[Why]:
        """What their scores are made of.

        Raises:
            UserError: the model cannot tell.
        """
        ids = [movie.movie_id for movie in movies]
        return self._model.submit(self.recommender.why, asked.profile, ids).result()

    def history(self, user: str) -> list[RatedMovie]:
        """What a user has rated, what came in last first.

        Raises:
            UnknownError: the user is unknown.
        """
        state = self.histories.state(user)
        came = [(movie, event) for movie, event in state.events.items() if not event.removed]
        lines = [line for line in self._known_lines(state) if line[0] not in state.events]
        lines += [(movie, event.rating, event.time, True) for movie, event in came]
        named = self.named([self.recommender.movies.ids.item(line[0]) for line in lines])
        found = [RatedMovie(*movie, *line[1:]) for movie, line in zip(named, lines, strict=True)]
        return found[::-1]

    def _known_lines(self, state: UserState) -> list[tuple[int, float | None, int | None, bool]]:
        """Index, rating and time of each movie that the model knows a user to have rated, in order of time."""
        if not state.is_known:
            return []
        movies, seen, ratings, times = self.recommender.history(state.user)
        unknown = [None] * len(movies)
        rating = unknown if ratings is None else ratings.tolist()
        time = unknown if times is None else times.tolist()
        lines = [(movie, None, None, False) for movie in seen.tolist()]
        lines += zip(movies.tolist(), rating, time, [False] * len(movies), strict=True)
        return sorted(lines, key=lambda line: line[2] or 0)

    def rate(self, user: str, movie: str, rating: float | None, when: int | None, key: str | None) -> Event:
        """Stores a rating, in place of an earlier one; it counts from the next answer on.

        Args:
            user: the user's id; one that is not known yet becomes a user.
            movie: the movie's id.
            rating: None: unknown.
            when: in seconds since 1970. None: now.
            key: sent twice with the same key, it counts once.

        Raises:
            UserError: the movie is unknown, the rating is needed, the key was used otherwise, or the disk is full.
        """
        if rating is None and (least := self.recommender.min_rating) is not None:
            raise UserError(f"no rating: this model was trained on ratings from {least} on, so give one")
        return self._write(user, movie, rating, when, key, removed=False)

    def take_back(self, user: str, movie: str, key: str | None) -> Event:
        """Removes a rating, one that the model was trained on as well; it counts from the next answer on.

        Raises:
            UserError: there is none, the key was used otherwise, or the disk is full.
        """
        return self._write(user, movie, None, None, key, removed=True)

    def _write(
        self, user: str, movie: str, rating: float | None, when: int | None, key: str | None, *, removed: bool
    ) -> Event:
        (index,) = known_indices(self.recommender.movies, [movie], "movie").tolist()
        movie = str(self.recommender.movies.ids.item(index))
        user = self.histories.plain(user)
        with self._store.writing:
            is_repeated = key is not None and self._store.by_key(key) is not None
            if removed and not is_repeated and not self.histories.has_rated(user, movie):
                raise UnknownError(f"user {user!r} has no rating of movie {movie!r}: there is nothing to remove")
            return self._store.append(user, movie, rating=rating, time=when, removed=removed, key=key)

    def warm(self) -> None:
        """Makes what the first to ask would wait for."""
        user, movie = (ids.ids.item(0) for ids in (self.recommender.users, self.recommender.movies))
        self.recommend(self._asked_of(UserState(user, is_known=True)), 1, Filter())
        self.similar(str(movie), 1)
        self.recommender.find(str(movie))

    def _asked_of(self, state: UserState) -> Asked:
        if self.histories.is_as_trained(state):
            return self._model.submit(self._scored, self.recommender.profile, state.user).result()
        return self.nobody(self.histories.history(state))

    def _scored(self, profile_of: Callable[[Any], Profile], what: Any) -> Asked:
        profile = profile_of(what)
        return Asked(profile, self.recommender.scores(profile))
