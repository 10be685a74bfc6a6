"""Ratings and times: how the cells of their columns are read."""

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_lp.data.files.cells import NUMBER, WORDS
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.errors import UserError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_UTC = re.compile(r"\s*(UTC|GMT)$", re.IGNORECASE)
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_LATEST = 10**11
"""The year 5138 in seconds; March 1973 in milliseconds, and so on: larger numbers are times of the next unit."""


def rating_words(file: RawTable) -> list[str]:
    """The first words of a rating column in which no cell is a number; none if it is one of numbers, or not there."""
    if "rating" not in file or not file.is_text("rating"):
        return []
    texts = file.distinct("rating")[0].to_pylist()
    words = [text for text in texts if text not in WORDS]
    return [] if any(map(NUMBER.fullmatch, words)) else words[:2]


def read_ratings(file: RawTable, remedy: str = "") -> Floats:
    """The ratings, float64 with shape ``[rows]``: NaN where blank or where the file has none.

    Args:
        file: the table.
        remedy: what may be done about a wrong cell beside correcting it.

    Raises:
        UserError: a cell is neither blank nor a finite number.
    """
    if "rating" not in file:
        return np.full(file.rows, np.nan)
    if file.is_text("rating"):
        distinct, codes = file.distinct("rating")
        texts = distinct.to_pylist()
        numbers = [float(text) if NUMBER.fullmatch(text) else np.nan for text in texts]
        values = np.array([*numbers, np.nan])[codes]
        missing = np.array([*(text in WORDS for text in texts), True])[codes]
    else:
        values, missing = file.numbers("rating")
    bad = ~np.isfinite(values) & ~missing
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{file.place(row, 'rating')}: {file.text(row, 'rating')!r} found, a finite number wanted: "
            f"correct the rating or leave the cell blank{remedy}."
        )
    return np.where(missing, np.nan, values)


def read_times(file: RawTable, rows: Ints) -> tuple[Ints | None, str | None]:
    """The times of some rows in whole seconds since 1970, int64 with shape ``[len(rows)]``.

    Numbers may be milliseconds, microseconds or nanoseconds, if all are.

    Returns:
        The times and None; or None and the reason: the file has none, or one of the cells cannot be read.
    """
    if "time" not in file.names:
        return None, "--data.columns.time null leaves it out: name the column."
    if "time" not in file:
        return None, (
            f"{file.path} has no column {file.names['time']} (found: {', '.join(file.found)}): add the times, "
            "or give their column's name with --data.columns.time."
        )
    if file.is_text("time"):
        times, bad = _parse_times(file.texts("time")[rows])
    else:
        values, missing = file.numbers("time")
        times, bad = values[rows], missing[rows]
    if bad.any():
        row = int(rows[np.argmax(bad)])
        return None, (
            f"{file.place(row, 'time')}: {file.text(row, 'time')!r} found, a number of seconds since 1970 or a "
            "date such as 2001-09-09 01:46:40 wanted: correct the time."
        )
    unit, other = _units(times)
    if other is None:
        return (times if unit == 0 else times // 1000**unit), None
    row, of_row = other
    return None, (
        f"{file.place(int(rows[row]), 'time')}: {file.text(int(rows[row]), 'time')!r} found, by its size "
        f"{_UNITS[of_row]} since 1970, where most times are {_UNITS[unit]}: give all in one unit."
    )


def _parse_times(texts: npt.NDArray[np.object_]) -> tuple[Ints, Mask]:
    """Numbers or, where none is a number, seconds since 1970 of ISO dates; and which are neither."""
    stripped = pd.Series(texts).str.strip()
    numbers = pd.to_numeric(stripped, errors="coerce").to_numpy(np.float64)
    bad = ~(np.abs(numbers) < 2**63)
    if not bad.all():
        return np.where(bad, 0, numbers).astype(np.int64), bad
    iso = stripped.str.replace(_UTC, "", regex=True)
    dates = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
    return dates.to_numpy().astype("datetime64[s]").astype(np.int64), dates.isna().to_numpy()


def _units(times: Ints) -> tuple[int, tuple[int, int] | None]:
    """The unit of most times, as its place in ``_UNITS``, and the place and unit of the first that has another."""
    if not len(times) or max(int(times.max()), -int(times.min())) < _LATEST:
        return 0, None  # nearly always: nothing is copied
    size = np.abs(times.astype(np.float64))  # there is no largest int64 that is negative
    units = np.searchsorted(_LATEST * 1000.0 ** np.arange(len(_UNITS) - 1), size, side="right")
    most = int(np.bincount(units[times != 0]).argmax())
    others = (units != most) & (times != 0)
    first = int(others.argmax())
    return most, (first, int(units[first])) if others.any() else None
