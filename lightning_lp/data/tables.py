"""Read and check a folder's movies and ratings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lightning_lp.data.files.formats import read_columns
from lightning_lp.data.files.layouts import DEFAULT, STANDARD, read_layout
from lightning_lp.data.files.raw_table import RawTable, smallest
from lightning_lp.data.files.values import Floats, Ints, Mask, rating_words, read_ratings, read_times
from lightning_lp.data.ids import IdMap, Index, id_notes, per_row, read_ids
from lightning_lp.data.lookup import look_up
from lightning_lp.data.movies import read_movies
from lightning_lp.data.schema import MOVIE, USER, Columns, Reading
from lightning_lp.errors import UserError


@dataclass(frozen=True)
class Tables:
    """A folder's movies and ratings, clean and in an order that depends on nothing but their content.

    Attributes:
        name: the folder's name.
        users: ids of the users in the ratings' file.
        movies: columns ``movie``, ``title``, ``genres`` (``Action|Comedy``, or empty); one row per movie,
            sorted by id.
        coded: columns ``user`` and ``movie`` (indices in ``users`` and rows of ``movies``, integers of a size that
            holds them), ``rating`` (float64, NaN where the file has no such column) and ``time`` (int64, seconds since
            1970; absent if not usable); one row per user and movie, sorted by both.
        rows_read: data rows of the ratings' file.
        dropped: reason -> rating rows left out; ``rows_read == len(ratings) + sum(dropped.values())``.
        movie_rows_read: data rows of the movies' file.
        movies_dropped: reason -> movie rows left out.
        movies_added: how many movies are rated and described nowhere, but kept;
            ``movie_rows_read + movies_added == len(movies) + sum(movies_dropped.values())``.
        time_problem: why ``time`` is absent, the sentence to raise when it is needed.
        notes: what a user should know of how the files were read.
    """

    name: str
    users: IdMap
    movies: pd.DataFrame
    coded: pd.DataFrame
    rows_read: int
    dropped: dict[str, int]
    movie_rows_read: int
    movies_dropped: dict[str, int]
    movies_added: int
    time_problem: str | None
    notes: list[str]

    @property
    def ratings(self) -> pd.DataFrame:
        """``coded`` with ids in place of indices, made anew each time."""
        columns = {str(name): column.to_numpy() for name, column in self.coded.items()}
        columns[USER] = self.users.ids[columns[USER]]
        columns[MOVIE] = self.movies[MOVIE].to_numpy()[columns[MOVIE]]
        return pd.DataFrame(columns, copy=False)

    def without_ratings(self) -> "Tables":
        """The same with no row of ``coded``, which fill the memory and are not needed once the graph is built."""
        return replace(self, coded=self.coded[:0].copy())


@dataclass(frozen=True)
class Pairs:
    """Pairs of user and movie to score, in the file's order.

    Attributes:
        user_text: users as written in the file, shape ``[pairs]``, object of ``str``.
        movie_text: movies as written in the file, shape ``[pairs]``, object of ``str``.
        row: rows of the pairs whose ids are known, shape ``[known]``, int64.
        user: node indices of their users, shape ``[known]``, int64.
        movie: node indices of their movies, shape ``[known]``, int64.
        first_unknown: the first id that is not known and its place, in words, or an empty text.
    """

    user_text: npt.NDArray[np.object_]
    movie_text: npt.NDArray[np.object_]
    row: Ints
    user: Ints
    movie: Ints
    first_unknown: str = ""


def read_tables(
    root: Path | str, columns: Columns = STANDARD, reading: Reading = DEFAULT, *, needs_ratings: bool = False
) -> Tables:
    """Read a folder's movies and ratings, in any of the layouts of ``layouts.py`` and formats of ``formats.py``.

    Rating rows with a blank id or rating, of a movie that the movies' file lacks, and all but the latest of
    repeated (user, movie) pairs are left out and counted; so are repeated, equal movie rows.

    Args:
        root: the folder.
        columns: the columns' names in the files.
        reading: how the files are found and read.
        needs_ratings: whether the ratings' values are needed; otherwise a column of words is ignored.

    Raises:
        UserError: a file is missing, malformed or empty, a value cannot be read, a movie is described in
            two ways, or over 1 % of the rating rows are of unknown movies.
    """
    root = Path(root)
    movies_file, ratings_file = read_layout(root, columns, reading)
    ((users, user_rows),) = read_ids([ratings_file], USER, as_text=reading.text_ids)
    catalogue, rated, rated_rows = read_movies(movies_file, ratings_file, reading)
    remedy, notes = "; or train without ratings: give --data.columns.rating null", list[str]()
    if needs_ratings:
        remedy += " and no --data.min_rating"
    else:
        ratings_file, notes = _without_words(ratings_file)
    row_of = IdMap(catalogue.movies[MOVIE].to_numpy()).index(rated.ids).astype(smallest(len(catalogue.movies)))
    coded, dropped, time_problem = _clean_ratings(ratings_file, user_rows, rated_rows, row_of, remedy)
    tables = Tables(
        name=root.resolve().name,
        users=users,
        movies=catalogue.movies,
        coded=coded,
        rows_read=ratings_file.rows,
        dropped=dropped,
        movie_rows_read=catalogue.rows_read,
        movies_dropped=catalogue.dropped,
        movies_added=catalogue.added,
        time_problem=time_problem,
        notes=id_notes(ratings_file.names[USER], users) + catalogue.notes + notes,
    )
    del movies_file, ratings_file
    pa.default_memory_pool().release_unused()  # Arrow would keep the memory, for more columns to come
    return tables


def read_pairs(path: Path | str, columns: Columns, users: IdMap, movies: IdMap) -> Pairs:
    """Read a file of pairs to score; columns other than the two ids are ignored.

    Raises:
        UserError: the file cannot be read, holds no pair, or none whose ids are both known.
    """
    names = {USER: columns.user, MOVIE: columns.movie}
    fallback = {USER: STANDARD.user, MOVIE: STANDARD.movie}
    file = read_columns(Path(path), names, required=frozenset(names), fallback=fallback, typed=False)
    if not file.rows:
        raise UserError(f"{path} has no rows: one row for each pair of user and movie is wanted.")
    texts = {column: file.texts(column) for column in names}
    nodes = {column: look_up(ids, texts[column]) for column, ids in ((USER, users), (MOVIE, movies))}
    known = (nodes[USER] >= 0) & (nodes[MOVIE] >= 0)
    first = ""
    if not known.all():
        row = int(known.argmin())
        column = USER if nodes[USER][row] < 0 else MOVIE
        first = f"{file.place(row, column)}: {texts[column][row]!r}"
    if not known.any():
        raise UserError(
            f"{path}: of no pair are user and movie both known ({first} is unknown): give pairs of the data's "
            "ids, or train on data that holds these."
        )
    rows = np.flatnonzero(known)
    return Pairs(texts[USER], texts[MOVIE], rows, nodes[USER][rows], nodes[MOVIE][rows], first)


def _without_words(file: RawTable) -> tuple[RawTable, list[str]]:
    """The table without a column of ratings that are words, such as ``like``, and a note for the user."""
    words = rating_words(file)
    if not words:
        return file, []
    said = f"column {file.names['rating']} is ignored: it holds no numbers, but {' and '.join(map(repr, words))}"
    return file.without("rating"), [f"{said} (only --data.min_rating needs it)"]


def _clean_ratings(
    file: RawTable, user: Index, rated: Index, row_of: Index, remedy: str
) -> tuple[pd.DataFrame, dict[str, int], str | None]:
    """One row per user and movie, how many rows were left out for which reason, and the time's problem.

    Args:
        file: the ratings.
        user: the index of each row's user, -1 where blank.
        rated: the index of each row's movie among those that are rated, -1 where blank.
        row_of: the row that describes each of those, -1 where none does.
        remedy: what to do without usable ratings.
    """
    movie = per_row(row_of, rated)
    rating = read_ratings(file, remedy)
    kept, dropped = _drop(
        {
            "blank_id": (user < 0) | (rated < 0),
            "blank_rating": np.isnan(rating) & ("rating" in file),
            "unknown_movie": movie < 0,
        }
    )
    if not len(kept):
        left = f" left, after dropping {dropped}" if dropped else ""
        raise UserError(f"{file.path} has no rating rows{left}: get the file again.")
    time, time_problem = read_times(file, kept)
    user, movie, rating = user[kept], movie[kept], rating[kept]
    last = _last_of_pairs(user, movie, rating, time)
    if len(last) < len(kept):
        dropped["repeated_pair"] = len(kept) - len(last)
    columns: dict[str, npt.NDArray[Any]] = {USER: user, MOVIE: movie, "rating": rating}
    if time is not None:
        columns["time"] = time
    del user, movie, rating, time  # so that each is in memory once
    for name in columns:
        columns[name] = columns[name][last]
    return pd.DataFrame(columns, copy=False), dropped, time_problem


def _drop(reasons: dict[str, Mask]) -> tuple[Ints, dict[str, int]]:
    """The rows to which no reason applies, and how many rows fell to each (a row to the first only)."""
    keep = np.ones(len(next(iter(reasons.values()))), dtype=bool)
    dropped = {}
    for reason, mask in reasons.items():
        count = int((keep & mask).sum())
        if count:
            dropped[reason] = count
        keep &= ~mask
    return np.flatnonzero(keep), dropped


def _last_of_pairs(user: Index, movie: Index, rating: Floats, time: Ints | None) -> Ints:
    """The rows sorted by (user, movie); of repeated pairs the one with the latest (time, rating)."""
    pair = user.astype(np.int64) * (int(movie.max()) + 1) + movie
    if (pair[1:] > pair[:-1]).all():
        return np.arange(len(pair))
    order = np.lexsort((rating, pair) if time is None else (rating, time, pair))
    last: Ints = order[np.append(np.diff(pair[order]) > 0, True)]
    return last
