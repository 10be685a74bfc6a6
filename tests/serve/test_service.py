"""Ratings that came in count from the next answer on, as if they had been in the history from the start."""

import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lp.data.lookup import UnknownError
from lightning_lp.errors import UserError
from lightning_lp.recommend.filters import Filter
from lightning_lp.serve.service import NothingToGoByError, Service
from lightning_lp.serve.store import RatingStore
from tests.untrained import NUM_MOVIES, recommender_of

USERS = ["0", "5", "11", "new", "77"]
ANY = Filter()
RECOMMENDERS = {name: recommender_of(name) for name in ("history", "sequence", "sage", "lightgcn")}
UNRATED = [movie.movie_id for movie in RECOMMENDERS["history"].recommend(0, NUM_MOVIES)]
BELOW = torch.tensor([[0, 0], sorted(UNRATED[:2])], dtype=torch.int32)
"""Movies that user 0 has rated too low to be a link, in one model."""
MINIMUM = {"settings": {"min_rating": 3.0}, "below_min_rating": BELOW}
RECOMMENDERS["minimum"] = recommender_of("history", **MINIMUM)
_FILES = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("stores")


def make_service(folder, name: str = "history") -> Service:
    return Service(RECOMMENDERS[name], RatingStore(folder / f"{next(_FILES)}.sqlite"))


@pytest.fixture(scope="module")
def service(folder) -> Service:
    """One that nobody writes to."""
    return make_service(folder)


class Naive:
    """What each user has done, as lists that are searched through."""

    def __init__(self, recommender):
        self.recommender, self.least, self.rows = recommender, recommender.min_rating, {}
        links = recommender._graph["user", "rates", "movie"]
        for place, (user, movie) in enumerate(links.edge_index.t().tolist()):
            rating = float(links.rating[place]) if "rating" in links else None
            time = int(links.time[place]) if "time" in links else None
            self.rows.setdefault(str(user), []).append((movie, rating, time, False))
        for user, movie in BELOW.t().tolist() if self.least is not None else []:
            self.rows[str(user)].append((movie, 0.5, None, False))
        self.known = dict(self.rows)

    def rate(self, user, movie, rating, time):
        self.remove(user, movie)
        self.rows[user] = [*self.rows.get(user, []), (movie, rating, time, True)]

    def remove(self, user, movie):
        self.rows[user] = [row for row in self.rows.get(user, []) if row[0] != movie]

    def liked(self, user):
        return [row for row in self.rows[user] if self.least is None or row[1] is None or row[1] >= self.least]

    def read(self, rows):
        """What the model reads of a history, in whatever order."""
        read = [name in self.recommender.edge_attrs for name in ("rating", "time")]
        liked = self.least or 0.0
        return sorted(
            (movie, rating is None or rating >= liked, read[0] and rating, read[1] and time)
            for movie, rating, time, _ in rows
        )

    def recommend(self, user):
        """As somebody would ask who has the user's whole history as a file."""
        liked = self.liked(user)
        seen = [movie for movie, *_ in self.rows[user]]
        known = {}
        if "time" in self.recommender.edge_attrs:
            known["times"] = [time for _, _, time, _ in liked]
        if "rating" in self.recommender.edge_attrs:
            told = [rating for _, rating, *_ in liked if rating is not None]
            if told:
                known["ratings"] = [np.mean(told) if rating is None else rating for _, rating, *_ in liked]
        return self.recommender.recommend_new([movie for movie, *_ in liked], NUM_MOVIES, seen, **known)


def answer(service, user, wanted=ANY, k=NUM_MOVIES):
    return service.recommend(service.user(user), k, wanted)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.integers(0, NUM_MOVIES - 1),
        st.sampled_from([None, 0.5, 3.0, 4.5]),
        st.integers(0, 2000),
        st.booleans(),
    ),
    max_size=12,
)


@pytest.mark.parametrize("name", [*RECOMMENDERS])
@given(events=EVENTS)
@settings(max_examples=15)
def test_an_answer_is_that_of_recommend_with_the_same_history(folder, name, events):
    service = make_service(folder, name)
    recommender, naive = service.recommender, Naive(service.recommender)
    for user, movie, rating, time, is_removed in events:
        if is_removed and any(row[0] == movie for row in naive.rows.get(user, [])):
            service.take_back(user, str(movie), None)
            naive.remove(user, movie)
        elif not is_removed and not (rating is None and naive.least):
            service.rate(user, str(movie), rating, time, None)
            naive.rate(user, movie, rating, time)
        for asked in USERS:
            check(service, naive, asked)
    again = Service(recommender, service._store)  # the log tells the same after a start
    for asked in USERS:
        check(again, naive, asked)


def check(service, naive, user):
    """Whether a user gets what the commands give: as it was in training, or else as a new one with its history."""
    if user in naive.known and naive.read(naive.rows[user]) == naive.read(naive.known[user]):
        assert answer(service, user) == service.recommender.recommend(user, NUM_MOVIES)
    elif naive.rows.get(user) and naive.liked(user):
        assert answer(service, user) == naive.recommend(user)
    elif naive.rows.get(user):
        with pytest.raises(NothingToGoByError):
            service.user(user)


def test_one_who_takes_back_all_that_came_in_is_as_before(folder):
    service = make_service(folder)
    before, unrated = answer(service, "5"), [movie.movie_id for movie in answer(service, "5")]
    for movie in unrated[:3]:
        service.rate("5", str(movie), 4.0, None, None)
    assert answer(service, "5") != before
    assert not {movie.movie_id for movie in answer(service, "5")} & set(unrated[:3])
    for movie in unrated[:3]:
        service.take_back("5.0", f" {movie} ", None)
    assert answer(service, "5") == before
    assert service.histories.num_changed == 0


@pytest.mark.parametrize("name", [*RECOMMENDERS])
def test_one_whose_ratings_have_been_trained_on_is_the_user_that_was_trained(folder, name):
    """As after an update: the log still has what the model knows by then."""
    service, naive = make_service(folder, name), Naive(RECOMMENDERS[name])
    for movie, rating, time, _ in naive.known["5"][::-1]:
        service.rate("5", str(movie), rating or 4.0, time, None)
    assert answer(service, "5") == service.recommender.recommend(5, NUM_MOVIES)
    assert len(service.history("5")) == len(naive.known["5"])
    movie = int(answer(service, "5")[0].movie_id)
    service.rate("5", str(movie), 4.0, None, None)
    assert answer(service, "5") != service.recommender.recommend(5, NUM_MOVIES)


def test_a_rating_of_training_can_be_taken_back_and_the_movie_is_recommended_again(folder):
    service = make_service(folder)
    rated = service.history("5")
    movie = rated[0].movie_id
    service.take_back("5", str(movie), None)
    assert movie in {found.movie_id for found in answer(service, "5")}
    assert movie not in {found.movie_id for found in service.history("5")}
    with pytest.raises(UnknownError, match=f"user '5' has no rating of movie '{movie}'"):
        service.take_back("5", str(movie), None)


def test_ratings_below_the_minimum_of_the_run_are_seen_and_nothing_else(folder):
    service, below = make_service(folder, "minimum"), BELOW[1].tolist()
    liked = [movie.movie_id for movie in answer(service, "0")][:2]
    service.rate("0", str(liked[0]), 2.5, None, None)
    links = service.recommender.history("0").movies.tolist()
    expected = service.recommender.recommend_new(links, NUM_MOVIES, [*below, liked[0]])
    assert answer(service, "0") == expected
    with pytest.raises(UserError, match=r"no rating: this model was trained on ratings from 3.0 on"):
        service.rate("0", str(liked[1]), None, None, None)
    service.take_back("0", str(below[0]), None)
    assert below[0] in {movie.movie_id for movie in answer(service, "0")}
    service.rate("new", "3", 1.0, None, None)
    with pytest.raises(NothingToGoByError, match="there is none: rate one first"):
        service.user("new")
    assert service.history_of(["1", "2"], [2.0, None], [None, None]).movies.tolist() == [2]
    assert service.history_of(["1", "2"], [2.0, None], [None, None]).seen.tolist() == [1]


def test_a_model_of_what_is_popular_needs_no_movie(folder):
    service = make_service(folder, "sequence")
    service.rate("new", "3", 1.0, 5, None)
    service.rate("new", "4", 1.0, 6, None)
    service.take_back("new", "3", None)
    assert len(answer(service, "new")) == NUM_MOVIES - 1
    for rated in service.recommender.history("7").movies.tolist():
        service.take_back("7", str(rated), None)
    assert answer(service, "7") == service.recommender.recommend_new([], NUM_MOVIES)
    with pytest.raises(UserError, match="movie '2' has no time, and others have"):
        service.history_of(["1", "2"], [None, None], [5, None])


def test_a_history_has_what_came_in_last_first(folder):
    service = make_service(folder, "sequence")
    known = service.recommender.history("5")
    order = np.argsort(-known.times, kind="stable")
    assert [movie.time for movie in service.history("5")] == known.times[order].tolist()
    assert {movie.movie_id: movie.rating for movie in service.history("5")} == dict(
        zip(known.movies.tolist(), known.ratings.tolist(), strict=True)
    )
    new = str(answer(service, "5")[0].movie_id)
    service.rate("5", new, 4.5, 3, None)
    first = service.history("5")[0]
    assert (first.movie_id, first.rating, first.time, first.is_new) == (int(new), 4.5, 3, True)
    assert len(service.history("5")) == len(known.movies) + 1
    with pytest.raises(UnknownError, match="user 'nobody' is unknown"):
        service.history("nobody")


@given(
    exclude=st.sets(st.integers(0, NUM_MOVIES - 1)),
    only=st.sets(st.integers(0, NUM_MOVIES - 1)),
    genres=st.sets(st.sampled_from(["comedy", "Drama"])),
    years=st.tuples(st.none() | st.integers(1978, 2008), st.none() | st.integers(1978, 2008)),
    k=st.integers(1, NUM_MOVIES),
)
def test_a_filtered_list_is_the_whole_list_without_the_others(service, exclude, only, genres, years, k):
    wanted = Filter([*map(str, exclude)], [*map(str, only)], [*genres], *years)
    whole = answer(service, "5")
    kept = [
        movie
        for movie in whole
        if movie.movie_id not in exclude
        and (not only or movie.movie_id in only)
        and (not genres or {name.casefold() for name in genres} & {name.casefold() for name in movie.genres})
        and (years[0] is None or 1980 + movie.movie_id >= years[0])
        and (years[1] is None or 1980 + movie.movie_id <= years[1])
    ]
    expected = [movie._replace(rank=rank) for rank, movie in enumerate(kept[:k], start=1)]
    assert answer(service, "5", wanted, k) == expected


def test_unknown_genres_and_movies_are_named(folder):
    service = make_service(folder)
    with pytest.raises(UserError, match="no movie has the genre 'Dramma'; did you mean Drama"):
        answer(service, "5", Filter(genres=["Dramma"]))
    with pytest.raises(UnknownError, match="movie '99' is not one of the 25"):
        answer(service, "5", Filter(exclude=["99"]))


def test_a_log_of_another_run_may_name_movies_that_are_gone(folder):
    store = RatingStore(folder / "gone.sqlite")
    store.append("5", "99", rating=1.0, time=0)
    store.append("5", "24", rating=1.0, time=0)
    service = Service(RECOMMENDERS["history"], store)
    assert (service.histories.num_unknown, service.histories.num_changed) == (1, 1)


def test_those_who_ask_while_others_rate_get_a_whole_answer(folder):
    """Each answer is one of those before or after a rating, by any of several threads."""
    service = make_service(folder, "sequence")
    naive, movies = Naive(service.recommender), [movie.movie_id for movie in answer(service, "5")][:8]
    allowed = [answer(service, "5")]
    for time, movie in enumerate(movies, start=3000):
        naive.rate("5", movie, 4.0, time)
        allowed.append(naive.recommend("5"))
    found, end = [], threading.Event()

    def ask():
        while not end.is_set():
            found.append(answer(service, "5"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for time, movie in enumerate(movies, start=3000):
        service.rate("5", str(movie), 4.0, time, None)
        assert answer(service, "5") == allowed[time - 2999], "from the next answer on"
    end.set()
    for thread in threads:
        thread.join()
    assert len(found) > len(movies)
    assert all(one in allowed for one in found)
