"""The names of columns, node types and edge types, once."""

from dataclasses import dataclass

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
        rating: value of the rating. Optional, unless a minimum rating is asked for.
        time: time of the rating, in seconds since 1970 or as a date. Optional, unless the split needs it.
        title: title of the movie. Optional: the id stands in for it.
        genres: genres of the movie, separated by ``|``. Optional.
    """

    user: str = "userId"
    movie: str = "movieId"
    rating: str = "rating"
    time: str = "timestamp"
    title: str = "title"
    genres: str = "genres"
