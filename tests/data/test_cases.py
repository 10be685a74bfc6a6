"""Every folder of the odd input files: what must become of it, as far as reading goes."""

import csv

import pytest

from lightning_lp.data.schema import NO_GENRES, Columns
from lightning_lp.data.tables import read_tables
from lightning_lp.errors import UserError

PLAIN = (32, 48, 440, 10)
READ = {  # users, movies, edges, genre columns
    "plain_control": PLAIN,
    "ml1m_dat_files": PLAIN,
    "ml100k_tab_pipe": PLAIN,
    "no_timestamp_column": PLAIN,
    "bom_and_index_columns": PLAIN,
    "bom_before_first_column": PLAIN,
    "quoted_comma_titles": PLAIN,
    "steins_gate_cut_by_semicolon": PLAIN,
    "same_title_two_ids": PLAIN,
    "no_genres_listed": (32, 48, 440, 11),
    "genre_cell_empty": PLAIN,
    "few_genres": (24, 36, 320, 3),
    "new_genre_later": (24, 36, 320, 4),
    "duplicate_movie_rows": PLAIN,
    "nan_ids": (32, 48, 435, 10),
    "float_ids": PLAIN,
    "string_ids": PLAIN,
    "huge_ids": PLAIN,
    "ids_beyond_64_bits": PLAIN,
    "zero_rating": PLAIN,
    "half_star_ratings": (30, 40, 420, 10),
    "text_in_timestamp": PLAIN,
    "url_in_timestamp": PLAIN,
    "mixed_line_endings": PLAIN,
    "cr_only_line_endings": PLAIN,
    "unrated_movies": (32, 50, 440, 10),
    "one_rating_user": (33, 48, 441, 10),
    "one_more_user": (33, 48, 446, 10),
    "isolated_after_split": (40, 50, 320, 10),
}
SAME = [
    *("bom_and_index_columns", "bom_before_first_column", "cr_only_line_endings", "duplicate_movie_rows", "float_ids"),
    *("mixed_line_endings", "text_in_timestamp"),
]
"""Of these what is read is, to the last bit, what is read of ``plain_control``."""
REFUSED = {
    "semicolon_no_header": ["movies.csv line 1", "movieId, title, genres", "found: 1;", "';'"],
    "no_header_ratings": ["ratings.csv line 1", "userId, movieId, rating, timestamp", "found: 1, ", "header"],
    "no_header_movies": ["movies.csv line 1", "movieId, title, genres", "found: 1, ", "header"],
    "semicolon_with_header": ["movies.csv line 1", "separated by ';'", "','"],
    "ml1m_double_colon": ["movies.csv line 1", "movieId, title, genres", "found: 1::", "'::'"],
    "lowercase_headers": ["movies.csv line 1", "wanted: movieId", "found: movieid", "upper and lower case"],
    "renamed_columns": ["ratings.csv line 1", "no column movieId", "found: userId, itemId", "--data.columns.movie"],
    "unquoted_comma_title": ["movies.csv line 21: 3 fields wanted, 4 found", "title", "in double quotes"],
    "unquoted_comma_first_row": ["movies.csv line 2: 3 fields wanted, 4 found", "title", "in double quotes"],
    "duplicate_movie_conflict": ["movies.csv lines 10 and 32", "movieId 9", "remove one"],
    "fractional_ids": ["ratings.csv line 6", "column userId", "'3.5'", "whole number wanted"],
    "shifted_movie_ids": ["15 of the 48", "33 are unknown", "329 of 440", "do not seem to belong together"],
    "no_movie_id_matches": ["ratings.csv", "movies.csv", "0 of the 48", "do not seem to belong together"],
    "html_page": ["ratings.csv line 1", "userId, movieId", "get the file again"],
    "placeholder_text": ["ratings.csv line 1", "userId, movieId", "found: "],
    "empty_file": ["ratings.csv is empty"],
    "empty_movies_file": ["movies.csv is empty"],
    "header_only": ["ratings.csv has no rating rows"],
    "header_only_movies": ["movies.csv has no movie rows"],
    "missing_ratings_file": ["missing_ratings_file/ratings.csv not found"],
    "missing_movies_file": ["missing_movies_file/movies.csv not found"],
}


def test_every_case_is_listed(cases):
    assert {path.name for path in cases.iterdir() if path.is_dir()} == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize(
    ("file", "part", "times"),
    [
        ("cr_only_line_endings/ratings.csv", b"\r", 441),
        ("cr_only_line_endings/ratings.csv", b"\n", 0),
        ("mixed_line_endings/movies.csv", b"\r\n", 49),
        ("mixed_line_endings/ratings.csv", b"\r\r\n", 51),
        ("mixed_line_endings/ratings.csv", b"\n", 443),
        ("bom_before_first_column/movies.csv", b"\xef\xbb\xbfmovieId", 1),
        ("bom_before_first_column/ratings.csv", b"\xef\xbb\xbfuserId", 1),
        ("bom_and_index_columns/ratings.csv", b"\xef\xbb\xbf,Unnamed: 0,userId", 1),
        ("genre_cell_empty/movies.csv", b',""\n', 1),
        ("genre_cell_empty/movies.csv", b",   \n", 1),
    ],
)
def test_what_a_reader_does_not_show_is_there(cases, file, part, times):
    assert (cases / file).read_bytes().count(part) == times


@pytest.mark.parametrize("name", READ)
def test_read(cases, name):
    tables = read_tables(cases / name)
    genres = {genre for text in tables.movies.genres for genre in text.split("|") if genre}
    assert (tables.ratings.user.nunique(), len(tables.movies), len(tables.ratings), len(genres)) == READ[name]
    assert tables.rows_read == len(tables.ratings) + sum(tables.dropped.values())
    assert tables.ratings.movie.isin(tables.movies.movie).all()
    assert tables.dropped == ({"blank_id": 5} if name == "nan_ids" else {})
    repeated = name in ("duplicate_movie_rows", "steins_gate_cut_by_semicolon")
    assert tables.movies_dropped == ({"repeated_movie": 1} if repeated else {})
    assert ("time" in tables.ratings) == (name not in ("no_timestamp_column", "url_in_timestamp"))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(cases, name):
    with pytest.raises(UserError) as error:
        read_tables(cases / name)
    for part in REFUSED[name]:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SAME)
def test_same_as_plain_control(cases, name):
    plain, odd = read_tables(cases / "plain_control"), read_tables(cases / name)
    assert odd.ratings.equals(plain.ratings)
    assert odd.movies.equals(plain.movies)


@pytest.mark.parametrize("name", ["ml1m_dat_files", "ml100k_tab_pipe"])
def test_older_layouts_hold_the_same_movies(cases, name):
    plain, odd = read_tables(cases / "plain_control"), read_tables(cases / name)
    assert odd.movies.equals(plain.movies)
    assert odd.ratings[["user", "movie", "time"]].equals(plain.ratings[["user", "movie", "time"]])


def test_renamed_column_can_be_named(cases):
    plain = read_tables(cases / "plain_control")
    named = read_tables(cases / "renamed_columns", Columns(movie="itemId"))
    assert named.movies.equals(plain.movies)
    assert named.ratings.equals(plain.ratings.drop(columns="time"))


def test_titles(cases):
    titles = read_tables(cases / "quoted_comma_titles").movies.title.tolist()
    with (cases / "quoted_comma_titles" / "movies.csv").open(newline="") as file:
        assert titles == [row["title"] for row in csv.DictReader(file)]
    assert sum(", " in title for title in titles) == 6
    assert titles[12].count('"') == 2
    steins = read_tables(cases / "steins_gate_cut_by_semicolon").movies.set_index("movie")
    assert (";" in steins.title[46], steins.genres[46]) == (False, "")
    twins = read_tables(cases / "same_title_two_ids").movies.set_index("movie")
    assert twins.title[17] == twins.title[39]
    assert twins.genres[17] != twins.genres[39]


def test_movies_without_genres(cases):
    movies = read_tables(cases / "genre_cell_empty").movies
    assert movies.movie[movies.genres == ""].tolist() == [7, 26, 34]
    movies = read_tables(cases / "no_genres_listed").movies
    assert movies.movie[movies.genres == NO_GENRES].tolist() == [5, 23, 41]


@pytest.mark.parametrize("name", ["placeholder_text", "html_page", "no_header_ratings"])
def test_the_first_line_is_shown(cases, name):
    first = (cases / name / "ratings.csv").read_text().splitlines()[0].replace(",", ", ")
    with pytest.raises(UserError) as error:
        read_tables(cases / name)
    assert f"found: {first}" in str(error.value)


def test_values_are_kept(cases):
    assert (read_tables(cases / "zero_rating").ratings.rating == 0).sum() == 13
    half = read_tables(cases / "half_star_ratings").ratings.rating
    assert ((half >= 3.5).sum(), (half >= 4).sum()) == (265, 162)
    huge = read_tables(cases / "huge_ids")
    assert {193609, 2147483653, 1099511627776} <= set(huge.movies.movie)
    assert {193609, 2147483653, 1099511627776} <= set(huge.ratings.movie)
    assert {900000, 8589934593, 1099511627779} <= set(huge.ratings.user)
    assert "36893488147419103232" in set(read_tables(cases / "ids_beyond_64_bits").ratings.user)


def test_time_problem_names_the_place(cases):
    problem = read_tables(cases / "url_in_timestamp").time_problem
    assert "ratings.csv line 125, column timestamp" in problem
    assert "no column timestamp" in read_tables(cases / "no_timestamp_column").time_problem
