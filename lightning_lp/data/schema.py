"""The names of columns, files, node types and edge types, once."""

from dataclasses import dataclass
from typing import Literal

USER = "user"
MOVIE = "movie"
RATES = (USER, "rates", MOVIE)
REV_RATES = (MOVIE, "rev_rates", USER)
METADATA = ([USER, MOVIE], [RATES, REV_RATES])
"""Node and edge types of the graph, as PyG's ``HeteroData.metadata()`` gives them."""

MOVIES_FILE = "movies.csv"
RATINGS_FILE = "ratings.csv"

NO_GENRES = "(no genres listed)"
"""MovieLens' placeholder: it has an indicator column of its own, but is never shown as a genre."""


@dataclass(frozen=True)
class Columns:
    """The columns' names in the user's two files; inside the package they always bear the field's name.

    Attributes:
        user: id of the user, in the ratings file. Required.
        movie: id of the movie, in both files. Required.
        rating: value of the rating. Optional, unless a minimum rating is asked for. None: not read.
        time: time of the rating, in seconds since 1970 or as a date. Optional, unless the split needs it. None: not
            read.
        title: title of the movie. Optional: the id stands in for it. None: not read.
        genres: genres of the movie. Optional. None: not read.
    """

    user: str = "userId"
    movie: str = "movieId"
    rating: str | None = "rating"
    time: str | None = "timestamp"
    title: str | None = "title"
    genres: str | None = "genres"


UnknownMovies = Literal["refuse", "drop", "keep"]


@dataclass(frozen=True)
class Reading:
    """How the two files of a folder are found and read.

    Attributes:
        movies_file: name of the movies' file in the folder, or its path. ``movies.csv`` stands for
            ``movies.csv.gz``, ``movies.csv.zst``, ``movies.parquet`` and the older layouts, too. None: there is none.
        ratings_file: the same for the ratings.
        movie_id_column: the movie's id in the movies' file, where it has another name there.
        genres_separator: what stands between the genres of a movie.
        unknown_movies: what is done about rated movies that the movies' file lacks: ``refuse`` more than a few,
            ``drop`` their ratings, or ``keep`` them, without title and genres.
        text_ids: take all ids as text.
        needs_ratings: whether the ratings' values are needed; otherwise a column of words is ignored.
    """

    movies_file: str | None = MOVIES_FILE
    ratings_file: str = RATINGS_FILE
    movie_id_column: str | None = None
    genres_separator: str = "|"
    unknown_movies: UnknownMovies = "refuse"
    text_ids: bool = False
    needs_ratings: bool = False
