"""Read and check a folder's movies and ratings."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lightning_lp.data.files.formats import read_columns
from lightning_lp.data.files.layouts import DEFAULT, STANDARD, read_layout
from lightning_lp.data.files.parts import read_parts
from lightning_lp.data.files.raw_table import RawTable, smallest
from lightning_lp.data.files.values import Ints
from lightning_lp.data.ids import IdMap, id_notes, joint_ids, read_ids
from lightning_lp.data.lookup import look_up
from lightning_lp.data.movies import read_movies
from lightning_lp.data.ratings import clean_ratings, join_parts, usable_ratings
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
            holds them), ``rating`` (float64, NaN where the file has no such column), ``time`` (int64, seconds since
            1970; absent if not usable) and ``part`` (uint8, 0 for training, 1 for validation, 2 for test; absent unless
            the files are given by part); one row per user and movie, sorted by both.
        rows_read: data rows of the ratings' file, or files.
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
    root: Path | str,
    columns: Columns = STANDARD,
    reading: Reading = DEFAULT,
    *,
    needs_ratings: bool = False,
    in_parts: bool = False,
) -> Tables:
    """Read a folder's movies and ratings, in any of the layouts of ``layouts.py`` and formats of ``formats.py``.

    Rating rows with a blank id or rating, of a movie that the movies' file lacks, and all but the latest of
    repeated (user, movie) pairs are left out and counted; so are repeated, equal movie rows.

    Args:
        root: the folder.
        columns: the columns' names in the files.
        reading: how the files are found and read.
        needs_ratings: whether the ratings' values are needed; otherwise a column of words is ignored.
        in_parts: whether the ratings are in files of their parts (``files/parts.py``), and not in one. A pair of two
            parts is then left out of the later one, and counted; ratings and times are read if all files have them.

    Raises:
        UserError: a file is missing, malformed or empty, a value cannot be read, a movie is described in
            two ways, or over 1 % of the rating rows are of unknown movies.
    """
    root, remedy = Path(root), "; or train without ratings: give --data.columns.rating null"
    movies_file, files = _read_files(root, columns, reading, in_parts)
    ratings = list(files.values())
    users, user_rows = joint_ids(read_ids(ratings, USER, as_text=reading.text_ids))
    catalogue, rated, rated_rows = read_movies(movies_file, ratings, reading)
    if needs_ratings:
        remedy += " and no --data.min_rating"
    ratings, notes = usable_ratings(ratings, needs_ratings)
    row_of = IdMap(catalogue.movies[MOVIE].to_numpy()).index(rated.ids).astype(smallest(len(catalogue.movies)))
    cleaned = [clean_ratings(*each, row_of, remedy) for each in zip(ratings, user_rows, rated_rows, strict=True)]
    coded, dropped, time_problem = join_parts(cleaned, list(files)) if in_parts else cleaned[0]
    if in_parts and time_problem is not None and any("time" in file for file in ratings):
        notes.append(f"times are ignored, and the split is not by time: {time_problem}")
    tables = Tables(
        name=root.resolve().name,
        users=users,
        movies=catalogue.movies,
        coded=coded,
        rows_read=sum(file.rows for file in ratings),
        dropped=dropped,
        movie_rows_read=catalogue.rows_read,
        movies_dropped=catalogue.dropped,
        movies_added=catalogue.added,
        time_problem=time_problem,
        notes=id_notes(ratings[0].names[USER], users) + catalogue.notes + notes,
    )
    del movies_file, files, ratings
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


def _read_files(
    root: Path, columns: Columns, reading: Reading, in_parts: bool
) -> tuple[RawTable | None, dict[str, RawTable]]:
    """The movies' file, and the ratings' file or files by part: one of all is ``train``."""
    if in_parts:
        return read_parts(root, columns, reading)
    movies, ratings = read_layout(root, columns, reading)
    return movies, {"train": ratings}
