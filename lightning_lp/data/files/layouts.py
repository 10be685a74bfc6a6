"""Which two files a folder holds, by their names, in the layouts in which MovieLens has been published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lightning_lp.data.files.formats import SUFFIXES, read_columns
from lightning_lp.data.files.header import COLUMN_OPTIONS
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.files.records import CSV, Dialect
from lightning_lp.data.schema import MOVIES_FILE, PART_FILES, RATINGS_FILE, Columns, Reading
from lightning_lp.errors import UserError

STANDARD = Columns()
"""MovieLens' own names."""
DEFAULT = Reading()

_USUAL = {MOVIES_FILE, RATINGS_FILE, *(name for names in PART_FILES.values() for name in names)}
_MAX_LISTED = 10
_MOVIE_OPTIONS = "--data.columns.movie, or for this file alone with --data.columns.movie_id"


@dataclass(frozen=True)
class Layout:
    """Two files and how each is written.

    Attributes:
        movies: name of the movies' file, or its path; None: there is none.
        ratings: name of the ratings' file, or its path.
        movies_dialect: how the movies' file is written.
        ratings_dialect: how the ratings' file is written.
        genres: name of the file that names the 0/1 genre flags at the end of each movie's row.
    """

    movies: str | None
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


def find_layout(root: Path, reading: Reading = DEFAULT) -> Layout:
    """The layout that a folder holds; files with headers win over the older layouts.

    Raises:
        UserError: there is no such folder, or it holds no layout whole.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "not found"
        raise UserError(
            f"{root} {found}: a folder with {MOVIES_FILE} and {RATINGS_FILE} is wanted; name it with --data.root."
        )
    movies = reading.movies_file and find_file(root, reading.movies_file)
    ratings = find_file(root, reading.ratings_file)
    if ratings and (movies or reading.movies_file is None):
        return replace(ML_CSV, movies=movies, ratings=ratings)
    for layout in (ML_1M, ML_100K) if not (movies or ratings) and reading.ratings_file == RATINGS_FILE else ():
        if reading.movies_file is None:
            layout = replace(layout, movies=None, genres=None)
        files = [name for name in (layout.movies, layout.ratings, layout.genres) if name is not None]
        if reading.movies_file in (None, MOVIES_FILE) and all((root / name).exists() for name in files):
            return layout
    absent = {
        "movies": reading.movies_file if not movies else None,
        "ratings": None if ratings else reading.ratings_file,
    }
    raise UserError(_missing(root, {kind: name for kind, name in absent.items() if name is not None}))


def find_file(root: Path, name: str) -> str | None:
    """The file that a name stands for: its name in the folder, or a path; None if there is none.

    Args:
        root: the folder.
        name: the name; a usual one stands for packed files, too.
    """
    if name in _USUAL:
        names = (name.removesuffix(SUFFIXES[0]) + suffix for suffix in SUFFIXES)
        return next((one for one in names if (root / one).exists()), None)
    path = Path(name).expanduser()
    if (root / path).exists():
        return str(path)
    return str(path.absolute()) if path.exists() else None


def _missing(root: Path, absent: Mapping[str, str]) -> str:
    """Which files are not there, which others are, and the ways out."""
    known = {find_file(root, name) for name in (MOVIES_FILE, RATINGS_FILE)}
    others = sorted({path.name for path in root.iterdir() if path.name.lower().endswith(SUFFIXES)} - known)
    ways = ["put the file there"]
    if others:
        listed = ", ".join(others[:_MAX_LISTED]) + ", ..." * (len(others) > _MAX_LISTED)
        options = " and ".join(f"--data.{kind}_file NAME" for kind in absent)
        ways.append(f"name another with {options} (the folder holds {listed})")
    if "movies" in absent:
        ways.append("train on the ratings alone with --data.movies_file null")
    paths = " and ".join(str(root / name) for name in absent.values())
    return f"{paths} not found: {', '.join(ways)}, or name another folder with --data.root."


def read_layout(
    root: Path, columns: Columns = STANDARD, reading: Reading = DEFAULT
) -> tuple[RawTable | None, RawTable]:
    """Read the movies and the ratings of a folder.

    Args:
        root: the folder.
        columns: names of the columns, where the files themselves name them.
        reading: which files.

    Returns:
        The movies (``movie`` and, where the file has them, ``title`` and ``genres``), if there is such a file, and
        the ratings (``user``, ``movie`` and, where the file has them, ``rating`` and ``time``).

    Raises:
        UserError: there is no such folder, it lacks a file, or a file cannot be read.
    """
    layout = find_layout(root, reading)
    if layout.ratings_dialect.header:
        unread: dict[str, Any] = {column: None for column, name in vars(columns).items() if name is None}
        columns = replace(STANDARD, **unread)
    movies, (ratings,) = read_tables_of(
        [(root / layout.ratings, layout.ratings_dialect)],
        None if layout.movies is None else (root / layout.movies, layout.movies_dialect),
        columns,
        None if layout.genres is None else root / layout.genres,
    )
    return movies, ratings


def read_tables_of(
    ratings: Sequence[tuple[Path, Dialect]],
    movies: tuple[Path, Dialect] | None,
    columns: Columns = STANDARD,
    genres: Path | None = None,
) -> tuple[RawTable | None, list[RawTable]]:
    """Read the files of a layout.

    Args:
        ratings: the files with ratings, and how each is written.
        movies: the file with movies, if there is one.
        columns: names of the columns.
        genres: the file that names the genre flags of the movies' file, if it has flags.

    Raises:
        UserError: a file cannot be read, or lacks a column.
    """
    rated, described = _named(columns, "user", "movie", "rating", "time"), _named(columns, "movie", "title", "genres")
    if movies is None:
        return None, [_read(path, dialect, rated) for path, dialect in ratings]
    # The movie's column may be renamed in some of the files only.
    fallback = {"movie": STANDARD.movie} if columns.movie_id is None else {}
    described["movie"] = columns.movie_id or columns.movie
    if genres is None:
        described_movies = _read(*movies, described, fallback)
    else:
        described_movies = _read_flagged(*movies, genres, described)
    tables = [_read(path, dialect, rated, fallback) for path, dialect in ratings]
    every = [described_movies, *tables]
    if fallback and columns.movie not in (table.names["movie"] for table in every):
        raise UserError(
            f"{' and '.join(str(table.path) for table in every)} line 1: no column {columns.movie} (found: "
            f"{'; '.join(', '.join(table.found) for table in every)}). Give the right name with --data.columns.movie."
        )
    return described_movies, tables


def _named(columns: Columns, *wanted: str) -> dict[str, str]:
    """The names of those columns that are to be read."""
    return {column: name for column in wanted if (name := getattr(columns, column)) is not None}


def _read(
    path: Path, dialect: Dialect, names: Mapping[str, str], fallback: Mapping[str, str] = MappingProxyType({})
) -> RawTable:
    # Whoever names a column means it to be read: only the standard names may be absent.
    renamed = {column for column, name in names.items() if name != getattr(STANDARD, column)}
    required = frozenset({"user", "movie"}.intersection(names) | renamed)
    options = COLUMN_OPTIONS if "user" in names else {**COLUMN_OPTIONS, "movie": _MOVIE_OPTIONS}
    return read_columns(path, names, required=required, fallback=fallback, dialect=dialect, options=options)


def _read_flagged(path: Path, dialect: Dialect, genres_path: Path, wanted: Mapping[str, str]) -> RawTable:
    """Movies whose genres are 0/1 flags, one column per line of the genres' file."""
    genre_dialect = replace(dialect, header=("genre", "number"))
    genres = read_columns(genres_path, {"genre": "genre"}, dialect=genre_dialect).texts("genre")
    if not len(genres):
        raise UserError(f"{genres_path} is empty: get the file again.")
    header = (*(dialect.header or ()), *genres)
    names = {column: name for column, name in wanted.items() if column != "genres"}
    movies = read_columns(path, names | {genre: genre for genre in genres}, dialect=replace(dialect, header=header))
    if "genres" not in wanted:
        return movies
    flags = np.stack([movies.texts(genre) == "1" for genre in genres], axis=1)
    return movies.with_texts("genres", ["|".join(genres[row]) for row in flags])
