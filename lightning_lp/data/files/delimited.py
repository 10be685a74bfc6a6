"""Reads delimited text files into raw tables; errors name the file, the line and the remedy.

``pyarrow.csv`` reads the wanted columns; ``records.py`` reads the header, checks a file that holds quotes, and finds
the line of whatever could not be read.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv

from lightning_lp.data.files.cells import MISSING
from lightning_lp.data.files.header import COLUMN_OPTIONS, find_columns
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.files.records import (
    CSV,
    Dialect,
    Source,
    check_records,
    open_source,
    read_records,
    strict_source,
)
from lightning_lp.errors import UserError

_ID = pa.dictionary(pa.int32(), pa.string())  # each id once, as written; four bytes a row
_TYPES = {"user": _ID, "movie": _ID, "rating": pa.float64(), "time": pa.int64()}


@dataclass(frozen=True)
class _Lines:
    """A delimited file, for what is seldom asked: it is read again."""

    path: Path
    dialect: Dialect
    found: tuple[str, ...]

    @property
    def unit(self) -> Literal["line"]:
        return "line"

    def number(self, row: int) -> int:
        header = 0 if self.dialect.header else 1
        return next(islice(read_records(open_source(self.path, self.dialect)), row + header, None))[0]

    def texts(self, name: str) -> Any:
        position = {name: self.found.index(name)}
        return _read(open_source(self.path, self.dialect), self.found, position, typed=False)[name]


def read_delimited(
    path: Path,
    names: Mapping[str, str],
    *,
    required: frozenset[str] = frozenset(),
    fallback: Mapping[str, str] = MappingProxyType({}),
    dialect: Dialect = CSV,
    typed: bool = True,
    options: Mapping[str, str] = COLUMN_OPTIONS,
) -> RawTable:
    """Read some columns of a text file, packed or not. The arguments are those of ``formats.read_columns``.

    Raises:
        UserError: the file cannot be read, lacks a column or has a malformed row.
    """
    source = open_source(path, dialect)
    records = read_records(source)
    found = dialect.header
    if found is None:
        header = next(records, None)
        if header is None:
            raise UserError(f"{path} is empty: get the file again.")
        found = tuple(name.strip() for name in header[2])
    second = {c: n for c, n in fallback.items() if names[c] not in found and n in found}
    names = {**names, **second}
    positions = find_columns(f"{path} line 1", found, names, required, options)
    columns = {column: pa.chunked_array([], pa.string()) for column in positions}
    if source.quoted:
        # Arrow takes an unclosed quote silently, and the rows up to the next quote with it.
        source = strict_source(source, len(found))
        records = islice(read_records(source), 0 if dialect.header else 1, None)
    if next(records, None) is not None:
        columns = _read_typed(source, found, positions, typed=typed)
    rows = len(next(iter(columns.values())))
    return RawTable(path, names, found, rows, columns, _Lines(path, source.dialect, found))


def _read_typed(source: Source, found: tuple[str, ...], positions: Mapping[str, int], *, typed: bool) -> dict[str, Any]:
    """Read with types, but as text each column in which a value does not fit."""
    typed = typed and not source.hexadecimal  # Arrow would read the time 0x10 as 16
    with suppress(pa.ArrowInvalid):
        return _read(source, found, positions, typed=typed)
    columns: dict[str, Any] = {}
    for column, position in positions.items():
        one = {column: position}
        try:
            with suppress(pa.ArrowInvalid):
                columns |= _read(source, found, one, typed=typed)
                continue
            columns |= _read(source, found, one, typed=False)
        except pa.ArrowInvalid as error:
            check_records(source, len(found))
            raise UserError(f"{source.path} cannot be read: {error}.") from None
    return columns


def _read(source: Source, found: tuple[str, ...], positions: Mapping[str, int], *, typed: bool) -> dict[str, Any]:
    # Columns are read by position: names may be padded, blank or repeated.
    keys = {column: str(position) for column, position in positions.items()}
    types = {key: _TYPES.get(column, pa.string()) if typed else pa.string() for column, key in keys.items()}
    dialect = source.dialect
    table = pa_csv.read_csv(
        pa.BufferReader(source.data),
        pa_csv.ReadOptions(
            use_threads=False,  # Arrow's threads would outlive the reading, and abort a process that ends soon after
            column_names=[str(i) for i in range(len(found))],
            skip_rows=0 if dialect.header else next(read_records(source))[1],
        ),
        pa_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char='"' if dialect.quoted else False,
            newlines_in_values=source.quoted,
        ),
        pa_csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=list(MISSING)),
    )
    return {column: table[key] for column, key in keys.items()}
