"""The ratings' rows: which are kept, and what became of the others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.files.values import Floats, Ints, Mask, rating_words, read_ratings, read_times
from lightning_lp.data.ids import Index, per_row
from lightning_lp.data.schema import MOVIE, PART_FILES, USER
from lightning_lp.errors import UserError

Cleaned = tuple[pd.DataFrame, dict[str, int], str | None]
"""One row per user and movie; reason -> how many rows were left out; the time's problem, if it has one."""


def usable_ratings(files: Sequence[RawTable], needs_ratings: bool) -> tuple[list[RawTable], list[str]]:
    """The tables, without a column of ratings that says nothing, and notes for the user.

    Args:
        files: the tables with ratings.
        needs_ratings: whether the ratings' values are needed; otherwise words, such as ``like``, are ignored.

    Raises:
        UserError: they are needed, and some of the tables have none where others have.
    """
    have, lack = ([file for file in files if ("rating" in file) is wanted] for wanted in (True, False))
    reason = ""
    if have and lack:
        reason = f"{lack[0].path.name} has none"
        if needs_ratings:
            raise UserError(
                f"--data.min_rating needs ratings, and {lack[0].path} has no column {lack[0].names['rating']} "
                f"(found: {', '.join(lack[0].found)}): add it there, or give no --data.min_rating."
            )
    elif not needs_ratings and (words := next(filter(None, map(rating_words, have)), [])):
        reason = f"it holds no numbers, but {' and '.join(map(repr, words))}"
    if not reason:
        return list(files), []
    note = f"column {have[0].names['rating']} is ignored: {reason} (only --data.min_rating needs it)"
    return [file.without("rating") for file in files], [note]


def clean_ratings(file: RawTable, user: Index, rated: Index, row_of: Index, remedy: str) -> Cleaned:
    """One row per user and movie, and what became of the other rows.

    Args:
        file: the ratings.
        user: the index of each row's user, -1 where blank.
        rated: the index of each row's movie among those that are rated, -1 where blank.
        row_of: the row that describes each of those, -1 where none does.
        remedy: what to do without usable ratings.

    Raises:
        UserError: a rating cannot be read, or no row is left.
    """
    movie = per_row(row_of, rated)
    rating = read_ratings(file, remedy)
    kept, dropped = _drop(
        {
            "blank_id": (user < 0) | (rated < 0),
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
    return pd.DataFrame(columns, copy=False), dropped, time_problem


def join_parts(parts: Sequence[Cleaned], names: Sequence[str]) -> Cleaned:
    """The rows of all parts as one table with a column ``part``; a pair of two parts is left out of the later one.

    Args:
        parts: the rows of each part, and what became of the others.
        names: the name of each, ``train``, ``val`` or ``test``, in this order.
    """
    time_problem = next((problem for *_, problem in parts if problem is not None), None)
    numbers = [np.uint8(list(PART_FILES).index(name)) for name in names]
    coded = pd.concat([rows.assign(part=number) for (rows, *_), number in zip(parts, numbers, strict=True)])
    if time_problem is not None:
        coded = coded.drop(columns="time", errors="ignore")
    coded = coded.sort_values([USER, MOVIE, "part"], ignore_index=True)
    is_repeated = coded.duplicated([USER, MOVIE]).to_numpy()
    dropped: dict[str, int] = {}
    for _, of_part, _ in parts:
        for reason, count in of_part.items():
            dropped[reason] = dropped.get(reason, 0) + count
    if is_repeated.any():
        dropped["in_earlier_part"] = int(is_repeated.sum())
    return coded[~is_repeated].reset_index(drop=True), dropped, time_problem


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
