"""Which movies a list may hold: some ids, genres or years alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_lp.data.ids import IdMap
from lightning_lp.data.lookup import UnknownError, known_indices
from lightning_lp.data.titles import title_year
from lightning_lp.errors import nearest


@dataclass(frozen=True)
class Filter:
    """What is wanted of the movies of a list. A movie has to be all of it.

    Attributes:
        exclude: ids of movies that are not listed.
        only: ids of the movies that may be listed. None at all: any.
        genres: it has one of them at least; upper and lower case make no difference. None at all: any.
        first_year: it is of this year or later, by its title; one whose title has no year is then not listed.
        last_year: it is of this year or earlier.
    """

    exclude: Sequence[str] = ()
    only: Sequence[str] = ()
    genres: Sequence[str] = ()
    first_year: int | None = None
    last_year: int | None = None

    @property
    def is_any(self) -> bool:
        """Whether every movie is wanted."""
        return not (self.exclude or self.only or self.genres) and self.first_year is None and self.last_year is None


class Catalogue:
    """The movies, as filters look at them.

    Args:
        movies: their ids.
        titles: their titles, ``"Toy Story (1995)"``.
        genres: the genres of each.

    Examples:
        >>> from lightning_lp.data.ids import IdMap
        >>> from lightning_lp.recommend.filters import Catalogue, Filter
        >>> movies = IdMap.from_values([1, 2, 3])
        >>> catalogue = Catalogue(movies, ["Heat (1995)", "Alien (1979)", "Untitled"], [("Crime",), ("Horror",), ()])
        >>> catalogue.hidden(Filter(first_year=1990)).tolist(), catalogue.hidden(Filter(genres=["horror"])).tolist()
        ([1, 2], [0, 2])
        >>> catalogue.hidden(Filter(exclude=["1"], only=["1", "2"])).tolist()
        [0, 2]
    """

    def __init__(self, movies: IdMap, titles: Sequence[str], genres: Sequence[Sequence[str]]) -> None:
        self._movies = movies
        self._year = np.array([title_year(title) or 0 for title in titles], dtype=np.int64)
        self._has = {name: np.zeros(len(movies), bool) for names in genres for name in names}
        for i, names in enumerate(genres):
            for name in names:
                self._has[name][i] = True

    @property
    def genres(self) -> list[str]:
        """All of them, sorted."""
        return sorted(self._has)

    def hidden(self, wanted: Filter) -> NDArray[np.int64]:
        """The indices of the movies that may not be listed.

        Raises:
            UnknownError: a movie or a genre is unknown.
        """
        if wanted.is_any:
            return np.array([], dtype=np.int64)
        listed = np.ones(len(self._movies), bool)
        if wanted.only:
            listed[:] = False
            listed[known_indices(self._movies, wanted.only, "movie")] = True
        listed[known_indices(self._movies, wanted.exclude, "movie")] = False
        if wanted.genres:
            listed &= np.logical_or.reduce([self._genre(name) for name in wanted.genres])
        if wanted.first_year is not None:
            listed &= (self._year >= wanted.first_year) & (self._year > 0)
        if wanted.last_year is not None:
            listed &= (self._year <= wanted.last_year) & (self._year > 0)
        return np.flatnonzero(~listed)

    def _genre(self, wanted: str) -> NDArray[np.bool_]:
        """[num_movies] which of them have the genre.

        Raises:
            UnknownError: none has it.
        """
        found = [has for name, has in self._has.items() if name.casefold() == wanted.strip().casefold()]
        if not found:
            near = f"; did you mean {name}?" if (name := nearest(wanted, self._has)) else ""
            raise UnknownError(f"no movie has the genre {wanted!r}{near}; there are {', '.join(self.genres)}")
        has: NDArray[np.bool_] = np.logical_or.reduce(found)
        return has
