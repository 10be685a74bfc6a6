"""Finds movies by their titles."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property


class TitleSearch:
    """Upper and lower case, accents and surplus spaces make no difference.

    Args:
        titles: those of all movies.

    Examples:
        >>> from lightning_lp.recommend.search import TitleSearch
        >>> search = TitleSearch(["Heat (1995)", "White Heat (1949)", "Amélie (2001)"])
        >>> search.find("heat"), search.find("HEAT (1995)"), search.find("2001 amelie"), search.find("")
        ([0, 1], [0], [2], [])
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles

    def find(self, text: str) -> list[int]:
        """The indices of the titles that are the text; else of those that hold it; else all of its words."""
        wanted = _fold(text)
        if not wanted:
            return []
        words = wanted.split()
        tests: Iterable[Callable[[str], bool]] = (
            lambda title: title == wanted,
            lambda title: wanted in title,
            lambda title: all(word in title for word in words),
        )
        found = ([i for i, title in enumerate(self._folded) if test(title)] for test in tests)
        return next(filter(None, found), [])

    @cached_property
    def _folded(self) -> list[str]:
        return [_fold(title) for title in self._titles]


def _fold(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(plain.casefold().split())
