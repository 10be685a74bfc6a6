"""Ratings and times: how the cells of their columns are read."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_lp.data.delimited import NUMBER, DelimitedTable
from lightning_lp.errors import UserError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def read_ratings(file: DelimitedTable) -> Floats:
    """The ratings, float64 with shape ``[rows]``: NaN where blank or where the file has none.

    Raises:
        UserError: a cell is neither blank nor a finite number.
    """
    if "rating" not in file:
        return np.full(file.rows, np.nan)
    if file.is_text("rating"):
        texts, codes = file.distinct("rating")
        values = np.append([float(text) if NUMBER.fullmatch(text) else np.nan for text in texts], np.nan)[codes]
        missing = codes < 0
    else:
        values, missing = file.numbers("rating")
    bad = ~np.isfinite(values) & ~missing
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{file.place(row, 'rating')}: {file.text(row, 'rating')!r} found, a finite number wanted: "
            "correct the rating or leave the cell blank."
        )
    return np.where(missing, np.nan, values)


def read_times(file: DelimitedTable, rows: Ints) -> tuple[Ints | None, str | None]:
    """The times of some rows in whole seconds since 1970, int64 with shape ``[len(rows)]``.

    Returns:
        The times and None; or None and the reason: the file has none, or one of the cells cannot be read.
    """
    if "time" not in file:
        return None, (
            f"{file.path} has no column {file.names['time']} (found: {', '.join(file.found)}): add the times, "
            "or give their column's name with --data.time_column."
        )
    if file.is_text("time"):
        seconds, bad = _parse_times(file.texts("time")[rows])
    else:
        values, missing = file.numbers("time")
        seconds, bad = values[rows], missing[rows]
    if not bad.any():
        return seconds, None
    row = int(rows[np.argmax(bad)])
    return None, (
        f"{file.place(row, 'time')}: {file.text(row, 'time')!r} found, a number of seconds since 1970 or a "
        "date such as 2001-09-09 01:46:40 wanted: correct the time."
    )


def _parse_times(texts: npt.NDArray[np.object_]) -> tuple[Ints, Mask]:
    """Seconds since 1970 of numbers or, where none is a number, of ISO dates; and which are neither."""
    stripped = pd.Series(texts).str.strip()
    numbers = pd.to_numeric(stripped, errors="coerce").to_numpy(np.float64)
    bad = ~(np.abs(numbers) < 2**63)
    if not bad.all():
        return np.where(bad, 0, numbers).astype(np.int64), bad
    dates = pd.to_datetime(stripped, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
    return dates.to_numpy().astype("datetime64[s]").astype(np.int64), dates.isna().to_numpy()
