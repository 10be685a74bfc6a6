"""The names of columns, files, node types and edge types, once."""

from dataclasses import dataclass
from typing import Literal, get_args

from lightning_lp.errors import require

USER = "user"
MOVIE = "movie"
RATES = (USER, "rates", MOVIE)
REV_RATES = (MOVIE, "rev_rates", USER)
METADATA = ([USER, MOVIE], [RATES, REV_RATES])
"""Node and edge types of the graph, as PyG's ``HeteroData.metadata()`` gives them."""

MOVIES_FILE = "movies.csv"
RATINGS_FILE = "ratings.csv"
PART_FILES = {"train": ("train.csv",), "val": ("val.csv", "validation.csv"), "test": ("test.csv",)}
"""In place of the ratings' file where a user has divided them: by part of the split, which names its file may have."""

NO_GENRES = "(no genres listed)"
"""MovieLens' placeholder: it has an indicator column of its own, but is never shown as a genre."""


@dataclass(frozen=True)
class Columns:
    """The columns' names in the user's two files; inside the package they always bear the field's name.

    Attributes:
        user: name of the column with the user's id.
        movie: name of the column with the movie's id, in both files.
        rating: name of the column with the rating; null ignores it.
        time: name of the column with the rating's time, in seconds since 1970 or as a date; null ignores it.
        title: name of the column with the movie's title; null ignores it, and the id stands in for it.
        genres: name of the column with the movie's genres; null ignores it.
        movie_id: name of the column with the movie's id in the movies' file, where that is another than ``movie``.

    Raises:
        UserError: a name is blank, or two columns of one file have the same.
    """

    user: str = "userId"
    movie: str = "movieId"
    rating: str | None = "rating"
    time: str | None = "timestamp"
    title: str | None = "title"
    genres: str | None = "genres"
    movie_id: str | None = None

    def __post_init__(self) -> None:
        names = {column: name for column, name in vars(self).items() if name is not None}
        for column, name in names.items():
            require(name.strip() != "", f"--data.columns.{column}", name, "the name of a column")
            others = {"movie_id", "title", "genres"} if column == "movie_id" else {*names} - {"movie_id"}
            same = [other for other in names if other in others and names[other] == name and other != column]
            wanted = f"another column than --data.columns.{', --data.columns.'.join(same)} has"
            require(not same, f"--data.columns.{column}", name, wanted)


UnknownMovies = Literal["refuse", "drop", "keep"]


@dataclass(frozen=True)
class Reading:
    """How the two files of a folder are found and read.

    Attributes:
        movies_file: another name or path of the movies' file. ``movies.csv`` stands for ``movies.csv.gz``,
            ``movies.csv.zst``, ``movies.parquet`` and the older layouts, too; null: train on the ratings alone.
        ratings_file: another name or path of the ratings' file.
        genres_separator: what stands between the genres of a movie. Lists and JSON are read without it.
        unknown_movies: rated movies that the movies' file lacks: ``refuse`` them if more than 1 % of the ratings are
            theirs, ``drop`` their ratings, or ``keep`` them without title and genres.
        text_ids: keep all ids as text, as written. By default whole numbers (``3`` or ``3.0``, but not ``007``) are
            numbers if all ids are.

    Raises:
        UserError: a name is blank, or a value is not one of those.
    """

    movies_file: str | None = MOVIES_FILE
    ratings_file: str = RATINGS_FILE
    genres_separator: str = "|"
    unknown_movies: UnknownMovies = "refuse"
    text_ids: bool = False

    def __post_init__(self) -> None:
        def check(right: bool, name: str, wanted: str) -> None:
            require(right, f"--data.{name}", getattr(self, name), wanted)

        check(self.movies_file is None or self.movies_file.strip() != "", "movies_file", "the name of a file")
        check(self.ratings_file.strip() != "", "ratings_file", "the name of a file")
        check(self.genres_separator != "", "genres_separator", "a character or more")
        check(self.unknown_movies in get_args(UnknownMovies), "unknown_movies", "refuse, drop or keep")
