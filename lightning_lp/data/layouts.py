"""The layouts in which MovieLens has been published, each read as the same two raw tables."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lightning_lp.data.delimited import DelimitedTable, read_delimited
from lightning_lp.data.records import CSV, Dialect
from lightning_lp.data.schema import MOVIES_FILE, RATINGS_FILE, Columns
from lightning_lp.errors import UserError

STANDARD = Columns()
"""MovieLens' own names."""


@dataclass(frozen=True)
class Layout:
    """Two files and how each is written.

    Attributes:
        movies: name of the movies' file.
        ratings: name of the ratings' file.
        movies_dialect: how the movies' file is written.
        ratings_dialect: how the ratings' file is written.
        genres: name of the file that names the 0/1 genre flags at the end of each movie's row.
    """

    movies: str
    ratings: str
    movies_dialect: Dialect
    ratings_dialect: Dialect
    genres: str | None = None


# ml-1m is latin-1; ml-10m, of the same layout, is UTF-8.
_OLD = Dialect(encodings=("utf-8", "latin-1"), quoted=False)
_RATED = ("userId", "movieId", "rating", "timestamp")

ML_CSV = Layout(MOVIES_FILE, RATINGS_FILE, CSV, CSV)
ML_1M = Layout(
    "movies.dat",
    "ratings.dat",
    replace(_OLD, separator="::", header=("movieId", "title", "genres")),
    replace(_OLD, separator="::", header=_RATED),
)
ML_100K = Layout(
    "u.item",
    "u.data",
    replace(_OLD, separator="|", header=("movieId", "title", "released", "video released", "url")),
    replace(_OLD, separator="\t", header=_RATED),
    genres="u.genre",
)


def find_layout(root: Path) -> Layout:
    """The layout that a folder holds; CSV files win over the older layouts.

    Raises:
        UserError: there is no such folder, or it holds no layout whole.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "not found"
        raise UserError(
            f"{root} {found}: a folder with {MOVIES_FILE} and {RATINGS_FILE} is wanted; name it with --data.root."
        )
    absent = [name for name in (MOVIES_FILE, RATINGS_FILE) if not (root / name).exists()]
    if not absent:
        return ML_CSV
    for layout in (ML_1M, ML_100K):
        files = [layout.movies, layout.ratings, *([layout.genres] if layout.genres else [])]
        if len(absent) == 2 and all((root / name).exists() for name in files):
            return layout
    paths = " and ".join(str(root / name) for name in absent)
    raise UserError(f"{paths} not found: put the file there, or name another folder with --data.root.")


def read_layout(root: Path, columns: Columns) -> tuple[DelimitedTable, DelimitedTable]:
    """Read the movies and the ratings of a folder.

    Args:
        root: the folder.
        columns: names of the columns, where the files themselves name them.

    Returns:
        The movies (``movie`` and, where the file has them, ``title`` and ``genres``) and the ratings
        (``user``, ``movie`` and, where the file has them, ``rating`` and ``time``).

    Raises:
        UserError: there is no such folder, it lacks a file, or a file cannot be read.
    """
    layout = find_layout(root)
    if layout.genres is None:
        movies = _read(root / layout.movies, layout.movies_dialect, ("movie", "title", "genres"), columns)
    else:
        movies = _read_flagged(root / layout.movies, layout.movies_dialect, root / layout.genres)
    ratings = _read(root / layout.ratings, layout.ratings_dialect, ("user", "movie", "rating", "time"), columns)
    if layout is not ML_CSV or columns.movie in (movies.names["movie"], ratings.names["movie"]):
        return movies, ratings
    raise UserError(
        f"{movies.path} and {ratings.path} line 1: no column {columns.movie} (found: {', '.join(movies.found)}; "
        f"{', '.join(ratings.found)}). Give the right name with --data.movie_column."
    )


def _read(path: Path, dialect: Dialect, wanted: tuple[str, ...], columns: Columns) -> DelimitedTable:
    if dialect.header:
        columns = STANDARD
    names = {column: getattr(columns, column) for column in wanted}
    # Whoever names a column means it to be read: only the standard names may be absent.
    renamed = {column for column in wanted if names[column] != getattr(STANDARD, column)}
    required = frozenset({"user", "movie"}.intersection(wanted) | renamed)
    # The movie's column may be renamed in one of the files only.
    return read_delimited(path, names, required=required, fallback={"movie": STANDARD.movie}, dialect=dialect)


def _read_flagged(path: Path, dialect: Dialect, genres_path: Path) -> DelimitedTable:
    """Movies whose genres are 0/1 flags, one column per line of the genres' file."""
    genre_dialect = replace(dialect, header=("genre", "number"))
    genres = read_delimited(genres_path, {"genre": "genre"}, dialect=genre_dialect).texts("genre")
    if not len(genres):
        raise UserError(f"{genres_path} is empty: get the file again.")
    header = (*(dialect.header or ()), *genres)
    names = {"movie": "movieId", "title": "title"} | {genre: genre for genre in genres}
    movies = read_delimited(path, names, dialect=replace(dialect, header=header))
    flags = np.stack([movies.texts(genre) == "1" for genre in genres], axis=1)
    return movies.with_texts("genres", ["|".join(genres[row]) for row in flags])
