"""What a cell of genres holds: names between separators, or a list as Python and JSON write it."""

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_lp.data.files.cells import MARKS

JOINT = "|"
"""Stands between the genres of a movie inside the package."""
_BAR = "\u00a6"
"""Stands for ``JOINT`` in the name of a genre."""

_GUESSES = (",", ";", "/")
_FEW_MOVIES, _MANY_CELLS, _MANY_GENRES = 10, 0.2, 0.5
"""So few movies show nothing; so many cells, and genres for each movie, are no chance."""
_LONGEST = 60
_ADJACENT = re.compile(r"(['\"])\s+(?=['\"])")
"""NumPy prints no comma between texts: Python would read them as one."""


def read_genres(cells: Sequence[str], separator: str = JOINT) -> tuple[list[str], list[str]]:
    """The genres of cells, joined by ``|``, and what looks as if they were read wrongly.

    Lists (``['Drama', 'War']``, ``["Drama"]``, ``[{"id": 18, "name": "Drama"}]``) are read as such if every cell that
    is not blank is one; nothing in them is run.

    Args:
        cells: one cell per movie.
        separator: what stands between the genres of a cell.

    Returns:
        The genres of each cell, and notes for the user.

    Examples:
        >>> from lightning_lp.data.genres import read_genres
        >>> read_genres(["Drama, War", "Drama"], separator=", ")
        (['Drama|War', 'Drama'], [])
        >>> read_genres(["['Drama', 'War']", '[{"id": 18, "name": "Drama"}]'])
        (['Drama|War', 'Drama'], [])
    """
    stripped = [cell.strip() for cell in cells]
    filled = [cell for cell in dict.fromkeys(stripped) if cell not in MARKS]
    genres, notes = _read_lists(filled), []
    if genres is None:
        genres = {cell: cell.split(separator) for cell in filled}
        notes = _doubts(genres, separator, sum(cell in genres for cell in stripped))
    joined = {cell: JOINT.join(_clean(names)) for cell, names in genres.items()}
    return [joined.get(cell, "") for cell in stripped], notes


def _clean(names: Sequence[str]) -> list[str]:
    return [name.strip().replace(JOINT, _BAR) for name in names if name.strip()]


def _read_lists(cells: Sequence[str]) -> dict[str, list[str]] | None:
    """The names in each cell, if all are lists."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        for cell in cells:
            names = _names_in(cell)
            if names is None:
                return None
            found[cell] = names
    return found


def _names_in(cell: str) -> list[str] | None:
    """The names in a list; None if the cell is none."""
    if cell[0] not in "[({" or cell[-1] not in "])}":
        return None
    for parse in (json.loads, _python):
        try:
            items = parse(cell)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(items, list | tuple | set | dict):
            names = [_name(item) for item in ([items] if _name(items) else items)]
            return [name for name in names if name is not None] if None not in names else None
    return None


def _python(cell: str) -> Any:
    return ast.literal_eval(_ADJACENT.sub(r"\1, ", cell))


def _name(item: Any) -> str | None:
    """A text or number, or what an object has as its ``name``; None if it is neither."""
    if isinstance(item, dict):
        item = next((value for key, value in item.items() if str(key).lower() == "name"), None)
    return str(item) if isinstance(item, str | int | float) else None


def _doubts(genres: Mapping[str, list[str]], separator: str, num_movies: int) -> list[str]:
    """A note if the cells seem to be separated by something else."""
    lists = [cell for cell in genres if cell[0] in "[{"]
    if len(lists) >= max(2, _MANY_CELLS * len(genres)):
        return [
            f"genres: {len(lists)} of {len(genres)} different cells look like lists ({_short(lists[0])}), but not all "
            f"can be read as such, so that each is split at {separator!r} (--data.genres_separator)"
        ]
    split = sum(separator in cell for cell in genres)
    for guess in _GUESSES if not split else ():
        having = [cell for cell in genres if guess in cell]
        if len(having) >= max(2, _MANY_CELLS * len(genres)):
            return [
                f"genres: no cell holds the separator {separator!r} and {len(having)} of {len(genres)} hold {guess!r} "
                f"({_short(having[0])}), so that each cell is a genre: if it separates them, give "
                f"--data.genres_separator {guess!r}"
            ]
    names = {name for cell in genres.values() for name in _clean(cell)}
    if num_movies >= _FEW_MOVIES and len(names) >= _MANY_GENRES * num_movies and split < _MANY_CELLS * len(genres):
        return [
            f"genres: {len(names):,} different ones for {num_movies:,} movies, nearly every cell is a genre of its own "
            f"({_short(next(iter(genres)))}): name what separates them with --data.genres_separator, or give "
            "--data.columns.genres null"
        ]
    return []


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= _LONGEST else cell[:_LONGEST] + "...")
