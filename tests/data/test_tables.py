import random
import time as clock
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_lp.data.files.layouts import STANDARD
from lightning_lp.data.ids import IdMap
from lightning_lp.data.schema import Columns, Reading
from lightning_lp.data.tables import Tables, read_pairs, read_tables
from lightning_lp.errors import UserError

MOVIES = ["movieId,title,genres", "1,A,Drama", "2,B,War|Drama", "3,C,"]
RATINGS = ["userId,movieId,rating,timestamp", "7,2,4.5,30", "7,1,0,20", "5,1,3,10"]


@pytest.fixture
def read(tmp_path):
    def read_lines(
        movies: list[str] = MOVIES,
        ratings: list[str] = RATINGS,
        columns: Columns = STANDARD,
        needs_ratings: bool = False,
        **reading: Any,
    ) -> Tables:
        (tmp_path / "movies.csv").write_text("\n".join(movies))
        (tmp_path / "ratings.csv").write_text("\n".join(ratings))
        return read_tables(tmp_path, columns, Reading(**reading), needs_ratings=needs_ratings)

    return read_lines


def rows(frame: pd.DataFrame) -> list[list]:
    return frame.to_numpy(dtype=object).tolist()


def check_equal(one: Tables, other: Tables) -> None:
    pd.testing.assert_frame_equal(one.movies, other.movies)
    pd.testing.assert_frame_equal(one.ratings, other.ratings)
    assert one.dropped == other.dropped
    assert one.movies_dropped == other.movies_dropped


def test_plain(read, tmp_path):
    tables = read()
    assert tables.name == tmp_path.name
    assert list(tables.movies) == ["movie", "title", "genres"]
    assert rows(tables.movies) == [[1, "A", "Drama"], [2, "B", "War|Drama"], [3, "C", ""]]
    assert list(tables.ratings) == ["user", "movie", "rating", "time"]
    assert rows(tables.ratings) == [[5, 1, 3.0, 10], [7, 1, 0.0, 20], [7, 2, 4.5, 30]]
    assert [str(kind) for kind in tables.ratings.dtypes] == ["int64", "int64", "float64", "int64"]
    assert (tables.rows_read, tables.dropped, tables.movies_dropped, tables.time_problem) == (3, {}, {}, None)
    assert (tables.movies_added, tables.notes) == (0, [])


def test_ratings_are_coded_by_the_places_of_their_ids(read):
    tables = read()
    assert tables.users.ids.tolist() == [5, 7]
    assert rows(tables.coded) == [[0, 0, 3.0, 10], [1, 0, 0.0, 20], [1, 1, 4.5, 30]]
    assert [tables.coded[name].dtype.itemsize for name in ("user", "movie")] == [1, 1]


def test_without_ratings_the_rest_stays(read):
    tables = read()
    rest = tables.without_ratings()
    assert (list(rest.ratings), len(rest.ratings)) == (list(tables.ratings), 0)
    columns = [rest.coded[name].to_numpy() for name in rest.coded]
    assert not any(np.size(column.base) for column in columns)  # no parts of the whole, which would stay in memory
    assert (rest.rows_read, rest.dropped, rest.movies is tables.movies) == (3, {}, True)


def test_only_ids_are_required(read):
    tables = read(["movieId", "2", "1"], ["movieId,userId", "2,7"])
    assert rows(tables.movies) == [[1, "1", ""], [2, "2", ""]]
    assert list(tables.ratings) == ["user", "movie", "rating"]
    assert tables.ratings.rating.isna().all()
    assert "no column timestamp" in tables.time_problem
    assert "--data.columns.time" in tables.time_problem


def test_renamed_columns(read):
    columns = Columns(user="u", movie="m", rating="r", time="t", title="name", genres="kinds")
    renamed = read(["m,name,kinds", *MOVIES[1:]], ["u,m,r,t", *RATINGS[1:]], columns)
    check_equal(renamed, read())
    with pytest.raises(
        UserError, match=r"movies\.csv and .*ratings\.csv line 1: no column m .* --data\.columns\.movie"
    ):
        read(columns=Columns(movie="m"))
    with pytest.raises(UserError, match=r"ratings\.csv line 1: no column when .* --data\.columns\.time"):
        read(columns=Columns(time="when"))


def test_rows_dropped_and_counted(read):
    many = [f"{user},1,1,1" for user in range(1000, 1300)]
    odd = [",1,1,1", "1,,1,1", ",,,", "1,1,,1", "1,9,1,1", "7,2,5,29", "7,2,3,30", "7,2,4.5,30"]
    tables = read([*MOVIES, "2,B,War|Drama", ",X,"], [*RATINGS, *odd, *many])
    assert tables.dropped == {"blank_id": 3, "blank_rating": 1, "unknown_movie": 1, "repeated_pair": 3}
    assert tables.movies_dropped == {"blank_id": 1, "repeated_movie": 1}
    assert tables.rows_read == len(tables.ratings) + 8 == 311
    assert rows(tables.ratings)[2] == [7, 2, 4.5, 30]


def test_repeats_without_time_keep_the_highest_rating(read):
    tables = read(ratings=["userId,movieId,rating", "1,1,2", "1,1,5", "1,1,3"])
    assert rows(tables.ratings) == [[1, 1, 5.0]]


cell = st.sampled_from(["1", "2", "3", "3.0", "", "NA"])
rating_row = st.tuples(cell, cell, st.sampled_from(["1", "2.5", "", "0"]), st.sampled_from(["1", "2", ""]))


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rating_row, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(read, cells, shuffler: random.Random):
    lines = [",".join(row) for row in cells] + ["1,1,1,1"]
    movies = [*MOVIES[1:], MOVIES[1]]
    tables = read([MOVIES[0], *movies], [RATINGS[0], *lines])
    assert tables.rows_read == len(lines) == len(tables.ratings) + sum(tables.dropped.values())
    assert not tables.ratings.duplicated(["user", "movie"]).any()
    shuffler.shuffle(lines)
    shuffler.shuffle(movies)
    check_equal(read([MOVIES[0], *movies], [RATINGS[0], *lines]), tables)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["2001-09-09 01:46:40", "2001-09-09T01:46:41Z", "2001-09-09"], [10**9, 10**9 + 1, 999993600]),
        (["1e9", "1000000001.7", " 5"], [10**9, 10**9 + 1, 5]),
        (["2001-09-09 01:46:40 UTC", "2001-09-09 01:46:41 gmt", "2001-09-09UTC"], [10**9, 10**9 + 1, 999993600]),
        (["1000000000000", "1000000001999", "0", "-1500000000000"], [10**9, 10**9 + 1, 0, -1500000000]),
        (["1000000000000.5", "1e12"], [10**9, 10**9]),
        (["1000000000000000", "1000000001000000"], [10**9, 10**9 + 1]),
        (["1000000000000000000", "1000000001000000000"], [10**9, 10**9 + 1]),
    ],
)
def test_times_as_text(read, times, seconds):
    ratings = [RATINGS[0], *(f"{user},1,1,{time}" for user, time in enumerate(times))]
    tables = read(ratings=ratings)
    assert tables.time_problem is None
    assert tables.ratings.time.tolist() == seconds
    assert tables.ratings.time.dtype == np.int64


@pytest.mark.parametrize(
    ("odd", "unit", "most"),
    [
        ("1000000000000", "milliseconds", "seconds"),
        ("-1e15", "microseconds", "seconds"),
        ("1000000000", "seconds", "nanoseconds"),
    ],
)
def test_times_of_two_magnitudes_are_a_problem(read, odd, unit, most):
    usual = {"seconds": "1000000000", "nanoseconds": "1000000000000000000"}[most]
    times = [usual, "0", odd, usual, odd, usual]
    tables = read(ratings=[RATINGS[0], *(f"{user},1,1,{time}" for user, time in enumerate(times))])
    assert f"ratings.csv line 4, column timestamp: '{odd}' found, by its size {unit}" in tables.time_problem
    assert f"most times are {most}" in tables.time_problem
    assert list(tables.ratings) == ["user", "movie", "rating"]


@pytest.mark.parametrize("good", ["5", "2001-09-09"])
@pytest.mark.parametrize("bad", ["", "NA", "http://x.org/y", "inf", "GMT+2", r"\N"])
def test_time_problem_names_the_cell(read, good, bad):
    tables = read(ratings=[RATINGS[0], ",1,1,x", f"1,1,1,{good}", f"2,1,1,{bad}"])
    assert f"ratings.csv line 4, column timestamp: {bad!r} found" in tables.time_problem
    assert list(tables.ratings) == ["user", "movie", "rating"]
    assert len(tables.ratings) == 2


@pytest.mark.parametrize("value", ["good", "inf", "-inf", "1e999", "0x1", "3;5", "1_0", "infinity"])
def test_rating_is_a_finite_number(read, value):
    with pytest.raises(
        UserError, match=rf"ratings\.csv line 5, column rating: '{value}' found, a finite number wanted"
    ):
        read(ratings=[*RATINGS, f"1,1,{value},1", "1,2,x,1"])


@pytest.mark.parametrize("words", [("like", "dislike"), ("True", "False"), ("good", "")])
def test_ratings_of_words_are_ignored_unless_they_are_needed(read, words):
    ratings = [RATINGS[0], *(f"{user},{movie},{words[(user + movie) % 2]},1" for user in range(9) for movie in (1, 2))]
    tables = read(ratings=ratings)
    assert len(tables.ratings) == 18
    assert tables.ratings.rating.isna().all()
    assert len(tables.notes) == 1
    assert "column rating is ignored" in tables.notes[0]
    assert repr(words[0]) in tables.notes[0]
    with pytest.raises(UserError, match=r"column rating: .* found, a finite number wanted"):
        read(ratings=ratings, needs_ratings=True)


def test_a_few_words_among_ratings_are_refused_with_the_way_out(read):
    with pytest.raises(UserError, match=r"line 5, column rating: 'good' .*--data\.columns\.rating null"):
        read(ratings=[*RATINGS, "1,1,good,1"])
    tables = read(ratings=[*RATINGS, "1,1,good,1"], columns=Columns(rating=None))
    assert (len(tables.ratings), tables.notes) == (4, [])


def test_usual_marks_of_missing_values(read):
    marks = [r"\N", "#N/A", "n/a", "null", "None", "NaN", "<NA>", "#NA", ""]
    ratings = [line.format(mark) for line in ("1,1,{},1", "{},1,3,1", "1,{},3,1") for mark in marks]
    movies = [*MOVIES, r"4,\N,#N/A"]
    tables = read(movies, [*RATINGS, *ratings])
    assert tables.dropped == {"blank_id": 18, "blank_rating": 9}
    assert rows(tables.movies)[3] == [4, "4", ""]


def test_columns_that_are_not_read(read):
    tables = read(columns=Columns(rating=None, time=None, title=None, genres=None))
    assert list(tables.ratings) == ["user", "movie", "rating"]
    assert tables.ratings.rating.isna().all()
    assert "--data.columns.time null" in tables.time_problem
    assert rows(tables.movies) == [[1, "1", ""], [2, "2", ""], [3, "3", ""]]


@pytest.mark.parametrize(
    ("movies", "ratings", "message"),
    [
        (MOVIES[:1], RATINGS, r"movies\.csv has no movie rows"),
        ([MOVIES[0], ",A,"], RATINGS, r"movies\.csv has no movie rows"),
        (MOVIES, RATINGS[:1], r"ratings\.csv has no rating rows:"),
        (MOVIES, [RATINGS[0], ",1,1,1"], r"ratings\.csv has no rating rows left, after dropping .*blank_id"),
        ([*MOVIES, "1,A,War"], RATINGS, r"movies\.csv lines 2 and 5: movieId 1 stands for two different movies"),
    ],
)
def test_refused(read, movies, ratings, message):
    with pytest.raises(UserError, match=message):
        read(movies, ratings)


def test_few_unknown_movies_are_dropped_many_refused(read):
    known = [f"{user},1,1,1" for user in range(99)]
    assert read(ratings=[RATINGS[0], *known, "1,8,1,1"]).dropped == {"unknown_movie": 1}
    with pytest.raises(UserError) as error:
        read(ratings=[RATINGS[0], *known, "1,8,1,1", "2,9,1,1"])
    for part in (
        "Only 1 of the 3",
        "ratings.csv",
        "movies.csv",
        "2 are unknown (8, 9)",
        "2 of 101",
        "not seem to belong",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("rated", ["9", "x9"])
def test_unknown_movies_are_dropped_or_kept_if_asked(read, rated):
    ratings = [*RATINGS, f"7,{rated},5,40", f"5,{rated},5,40"]
    with pytest.raises(UserError, match=r"--data\.unknown_movies keep .* or drop"):
        read(ratings=ratings)
    dropped = read(ratings=ratings, unknown_movies="drop")
    assert (dropped.dropped, len(dropped.ratings), len(dropped.movies)) == ({"unknown_movie": 2}, 3, 3)
    kept = read(ratings=ratings, unknown_movies="keep")
    assert (kept.dropped, len(kept.ratings), kept.movies_added) == ({}, 5, 1)
    assert rows(kept.movies)[3][1:] == [rated, ""]
    assert [str(movie) for movie in kept.movies.movie] == ["1", "2", "3", rated]
    assert kept.movie_rows_read + kept.movies_added == len(kept.movies)
    assert "1 rated movies that movies.csv lacks" in kept.notes[0]
    assert read(unknown_movies="keep").notes == []


def test_files_that_write_the_same_ids_in_two_ways_are_told_so(read):
    movies = ["movieId,title", "7,A", "00008,B", "9,C"]
    with pytest.raises(UserError) as error:
        read(movies, ["userId,movieId", "1,007", "2,+7", "3,8.0", "4,00008"])
    assert "3 of them differ from known ones in leading zeros, a plus sign or '.0' alone" in str(error.value)
    assert "'+7' and '7'" in str(error.value)
    assert "do not seem to belong together" in str(error.value)


def test_ratings_alone(read, tmp_path):
    tables = read(movies_file=None)
    assert rows(tables.movies) == [[1, "1", ""], [2, "2", ""]]
    assert (tables.movie_rows_read, tables.movies_added, len(tables.ratings)) == (0, 2, 3)
    assert "without titles and genres" in tables.notes[0]


def test_equal_sets_of_genres_are_equal_in_any_order_of_rows(read):
    movies = ["movieId,title,genres", "1,A,War|Drama", "1,A,Drama | War", "1,A,Drama|War|Drama"]
    for order in (movies, [movies[0], *movies[:0:-1]]):
        tables = read(order, ["userId,movieId", "1,1"])
        assert tables.movies.genres.tolist() == ["Drama|War"]
        assert tables.movies_dropped == {"repeated_movie": 2}
    with pytest.raises(UserError, match="lines 3 and 4: movieId 1 stands for two different movies"):
        read([*movies[:3], "1,A,Drama"], ["userId,movieId", "1,1"])


def test_genres_are_split_at_the_separator(read):
    movies = ["movieId,title,genres", '1,A,"Drama, War"', "2,B,War", '3,C,"War, Crime"']
    tables = read(movies, genres_separator=",")
    assert (tables.movies.genres.tolist(), tables.notes) == (["Drama|War", "War", "War|Crime"], [])
    assert "--data.genres_separator ','" in read(movies).notes[0]


def test_words_that_are_ids_are_kept_and_noted(read):
    tables = read(ratings=["userId,movieId", "NA,1", "DE,1", "null,2"])
    assert tables.ratings.user.tolist() == ["DE", "NA", "null"]
    assert "column userId" in tables.notes[0]


def test_text_ids(read):
    tables = read(text_ids=True)
    assert tables.ratings.user.tolist() == ["5", "7", "7"]
    assert tables.movies.movie.tolist() == ["1", "2", "3"]


def test_ids_of_both_files_are_text_if_one_is(read):
    tables = read(["movieId,title", "007,Bond", "x,X"], ["userId,movieId", "1,007"])
    assert tables.ratings.movie.tolist() == ["007"]
    assert tables.movies.movie.tolist() == ["007", "x"]


def test_a_hundred_thousand_ratings_are_read_whole_and_fast(sized):
    start = clock.perf_counter()
    tables = read_tables(sized)
    assert clock.perf_counter() - start < 2  # 0.1 s when nothing else runs
    assert (tables.ratings.user.nunique(), len(tables.movies), len(tables.ratings)) == (610, 9742, 100836)
    assert (tables.dropped, tables.movies_dropped, tables.time_problem) == ({}, {}, None)
    plain = pd.read_csv(sized / "ratings.csv").sort_values(["userId", "movieId"], ignore_index=True)
    np.testing.assert_array_equal(tables.ratings.to_numpy(), plain.to_numpy())


def pairs_file(tmp_path, *lines):
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["note,movieId,userId", *lines]))
    return path, Columns(), IdMap.from_values([5, 7]), IdMap.from_values([1, 2, 3])


def test_pairs_keep_order_repeats_and_text(tmp_path):
    pairs = read_pairs(*pairs_file(tmp_path, "x,3,7.0", "y,1,5", "x,3,7.0"))
    assert pairs.user_text.tolist() == ["7.0", "5", "7.0"]
    assert pairs.movie_text.tolist() == ["3", "1", "3"]
    assert pairs.user.tolist() == [1, 0, 1]
    assert pairs.movie.tolist() == [2, 0, 2]
    assert pairs.row.tolist() == [0, 1, 2]
    assert pairs.first_unknown == ""


def test_pairs_with_unknown_ids_are_not_scored(tmp_path):
    pairs = read_pairs(*pairs_file(tmp_path, "x,9,5", "x,1,7", "x,1,", "x,2,5", "x,3,8"))
    assert pairs.row.tolist() == [1, 3]
    assert pairs.user.tolist() == [1, 0]
    assert pairs.movie.tolist() == [0, 1]
    assert pairs.user_text.tolist() == ["5", "7", "", "5", "8"]
    assert pairs.first_unknown.endswith("line 2, column movieId: '9'")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x,9,5", "x,1,8"], r"of no pair are user and movie both known \(.*line 2, column movieId: '9' is unknown"),
        (["x,1,"], r"line 2, column userId: '' is unknown"),
        ([], r"pairs\.csv has no rows"),
        (["1,5"], r"pairs\.csv line 2: 3 fields wanted, 2 found"),
    ],
)
def test_pairs_refused(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read_pairs(*pairs_file(tmp_path, *lines))
