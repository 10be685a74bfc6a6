"""Read and check a folder's movies and ratings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lightning_lp.data.delimited import DelimitedTable, read_delimited
from lightning_lp.data.ids import IdMap, Index, per_row, read_ids
from lightning_lp.data.layouts import STANDARD, read_layout
from lightning_lp.data.lookup import look_up
from lightning_lp.data.schema import MOVIE, USER, Columns
from lightning_lp.data.values import Floats, Ints, Mask, read_ratings, read_times
from lightning_lp.errors import UserError

_MAX_UNKNOWN = 0.01
"""Share of the rating rows whose movie the movies' file may lack; more means that the files do not match."""


@dataclass(frozen=True)
class Tables:
    """A folder's movies and ratings, clean and in an order that depends on nothing but their content.

    Attributes:
        name: the folder's name.
        movies: columns ``movie``, ``title``, ``genres`` (``Action|Comedy``, or empty); one row per movie,
            sorted by id.
        ratings: columns ``user``, ``movie``, ``rating`` (float64, NaN where the file has no such column)
            and ``time`` (int64, seconds since 1970; absent if not usable); one row per user and movie,
            sorted by both.
        rows_read: data rows of the ratings' file.
        dropped: reason -> rating rows left out; ``rows_read == len(ratings) + sum(dropped.values())``.
        movie_rows_read: data rows of the movies' file.
        movies_dropped: reason -> movie rows left out; ``movie_rows_read == len(movies) + sum(...)``.
        time_problem: why ``time`` is absent, the sentence to raise when it is needed.
    """

    name: str
    movies: pd.DataFrame
    ratings: pd.DataFrame
    rows_read: int
    dropped: dict[str, int]
    movie_rows_read: int
    movies_dropped: dict[str, int]
    time_problem: str | None

    def without_ratings(self) -> "Tables":
        """The same with no row of ``ratings``, which fill the memory and are not needed once the graph is built."""
        return replace(self, ratings=self.ratings[:0].copy())


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


def read_tables(root: Path | str, columns: Columns = STANDARD) -> Tables:
    """Read a folder's movies and ratings, in any of the layouts of ``layouts.py``.

    Rating rows with a blank id or rating, of a movie that the movies' file lacks, and all but the latest of
    repeated (user, movie) pairs are left out and counted; so are repeated, equal movie rows.

    Args:
        root: the folder.
        columns: the columns' names in the files.

    Raises:
        UserError: a file is missing, malformed or empty, a value cannot be read, a movie is described in
            two ways, or over 1 % of the rating rows are of unknown movies.
    """
    root = Path(root)
    movies_file, ratings_file = read_layout(root, columns)
    (movie_ids, movie_rows), (rated_ids, rated_rows) = read_ids([movies_file, ratings_file], MOVIE)
    ((user_ids, user_rows),) = read_ids([ratings_file], USER)
    movies, movies_dropped = _clean_movies(movies_file, movie_ids, movie_rows)
    _check_known(movies_file, ratings_file, movie_ids, rated_ids, rated_rows)

    ratings, dropped, time_problem = _clean_ratings(
        ratings_file, (user_ids, user_rows), (rated_ids, rated_rows), movie_ids
    )
    tables = Tables(
        name=root.resolve().name,
        movies=movies,
        ratings=ratings,
        rows_read=ratings_file.rows,
        dropped=dropped,
        movie_rows_read=movies_file.rows,
        movies_dropped=movies_dropped,
        time_problem=time_problem,
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
    file = read_delimited(Path(path), names, required=frozenset(names), fallback=fallback, typed=False)
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


def _clean_movies(file: DelimitedTable, ids: IdMap, rows: Index) -> tuple[pd.DataFrame, dict[str, int]]:
    """One row per movie, sorted by id, and how many rows were left out for which reason."""
    if not len(ids):
        raise UserError(f"{file.path} has no movie rows: get the file again.")
    frame = pd.DataFrame({"node": rows, "title": "", "genres": ""})
    if "title" in file:
        frame["title"] = [text.strip() for text in file.texts("title")]
    if "genres" in file:
        genres, codes = np.unique(file.texts("genres"), return_inverse=True)
        frame["genres"] = np.array([_clean_genres(text) for text in genres], dtype=object)[codes]
    named = frame[rows >= 0]
    distinct = named.drop_duplicates()
    clash = distinct[distinct["node"].duplicated(keep=False)].sort_values("node", kind="stable")
    if len(clash):
        first, second = (file.line(int(row)) for row in clash.index[:2])
        raise UserError(
            f"{file.path} lines {first} and {second}: {file.names[MOVIE]} {ids.ids[clash['node'].iloc[0]]} "
            "stands for two different movies: remove one of the lines or give it another id."
        )
    movies = distinct.sort_values("node", ignore_index=True)
    movies["title"] = movies["title"].where(movies["title"] != "", pd.Series(ids.ids).astype(str))
    movies.insert(0, MOVIE, ids.ids)
    counts = {"blank_id": len(frame) - len(named), "repeated_movie": len(named) - len(distinct)}
    return movies.drop(columns="node"), {reason: count for reason, count in counts.items() if count}


def _clean_genres(text: str) -> str:
    return "|".join(genre.strip() for genre in text.split("|") if genre.strip())


def _check_known(
    movies_file: DelimitedTable, ratings_file: DelimitedTable, known: IdMap, rated: IdMap, rows: Index
) -> None:
    """Refuse two files that do not belong together."""
    unknown = known.index(rated.ids) < 0
    per_id = np.bincount(rows[rows >= 0], minlength=len(rated))
    count, total = int(per_id[unknown].sum()), int(per_id.sum())
    if count <= _MAX_UNKNOWN * total:
        return
    first = ", ".join(str(value) for value in rated.ids[unknown][:5]) + ", ..." * bool(unknown.sum() > 5)
    raise UserError(
        f"Only {(~unknown).sum()} of the {len(rated)} distinct movie ids in {ratings_file.path} are found in "
        f"{movies_file.path}: {unknown.sum()} are unknown ({first}), with "
        f"{count} of {total} rating rows. The two files do not seem to belong together: use two of one data set."
    )


def _clean_ratings(
    file: DelimitedTable, users: tuple[IdMap, Index], rated: tuple[IdMap, Index], movies: IdMap
) -> tuple[pd.DataFrame, dict[str, int], str | None]:
    """One row per user and movie, how many rows were left out for which reason, and the time's problem."""
    user, movie = users[1], per_row(movies.index(rated[0].ids), rated[1])
    rating = read_ratings(file)
    kept, dropped = _drop(
        {
            "blank_id": (user < 0) | (rated[1] < 0),
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
    columns[USER], columns[MOVIE] = users[0].ids[columns[USER]], movies.ids[columns[MOVIE]]
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
