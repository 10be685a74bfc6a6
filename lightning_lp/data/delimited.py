"""One reader of delimited text files, whose errors name the file, the line and the remedy.

``pyarrow.csv`` reads the wanted columns on all cores; ``records.py`` reads the header, checks a file that
holds quotes, and finds the line of whatever could not be read.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from lightning_lp.data.records import CSV, Dialect, Source, check_records, open_source, read_records
from lightning_lp.errors import UserError

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>")
"""What stands for no value in a column of ids, numbers or times; a title may well be called "NA"."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""A decimal number as text."""

_TYPES = {"user": pa.int64(), "movie": pa.int64(), "rating": pa.float64(), "time": pa.int64()}


@dataclass(frozen=True)
class DelimitedTable:
    """Some columns of a file, by the package's own names.

    Attributes:
        path: the file.
        dialect: how it is written.
        names: for each column wanted, its name in the file. ``column in table`` tells whether it is there.
        found: all column names of the file.
        rows: number of data rows.
    """

    path: Path
    dialect: Dialect
    names: Mapping[str, str]
    found: tuple[str, ...]
    rows: int
    _columns: Mapping[str, Any] = field(repr=False)

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    def is_text(self, column: str) -> bool:
        """Whether the column could not be read as numbers."""
        return bool(pa.types.is_string(self._columns[column].type))

    def numbers(self, column: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A column of numbers, int64 or float64 with shape ``[rows]``, and which of them are missing."""
        values = self._columns[column]
        return values.fill_null(0).to_numpy(), values.is_null().to_numpy()

    def texts(self, column: str) -> npt.NDArray[np.object_]:
        """A column as written in the file, shape ``[rows]``, object of ``str``."""
        return np.array(self._text_column(column).to_pylist(), dtype=object)

    def text(self, row: int, column: str) -> str:
        """One cell as written in the file."""
        return str(self._text_column(column)[row].as_py())

    def with_texts(self, column: str, texts: Sequence[str]) -> "DelimitedTable":
        """The same table with a column of texts more."""
        columns = {**self._columns, column: pa.chunked_array([pa.array(texts, pa.string())])}
        return replace(self, names={**self.names, column: column}, _columns=columns)

    def distinct(self, column: str) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The distinct texts of a column, stripped, and for each row which it is (-1: missing)."""
        stripped = pc.utf8_trim_whitespace(self._text_column(column))
        texts = [text for text in pc.unique(stripped).to_pylist() if text not in MISSING]
        codes = pc.index_in(stripped, value_set=pa.array(texts, pa.string())).fill_null(-1)
        return texts, codes.to_numpy().astype(np.int64)

    def line(self, row: int) -> int:
        """The line, from 1, where data row ``row``, from 0, begins."""
        header = 0 if self.dialect.header else 1
        return next(islice(read_records(open_source(self.path, self.dialect)), row + header, None))[0]

    def place(self, row: int, column: str) -> str:
        """A cell in words, for an error: file, line and column."""
        return f"{self.path} line {self.line(row)}, column {self.names[column]}"

    def _text_column(self, column: str) -> Any:
        if self.is_text(column):
            return self._columns[column]
        position = self.found.index(self.names[column])
        return _read(open_source(self.path, self.dialect), self.found, {column: position}, typed=False)[column]


def read_delimited(
    path: Path,
    names: Mapping[str, str],
    *,
    required: frozenset[str] = frozenset(),
    fallback: Mapping[str, str] = MappingProxyType({}),
    dialect: Dialect = CSV,
    typed: bool = True,
    renamable: bool = True,
) -> DelimitedTable:
    """Read some columns of a file.

    Args:
        path: the file.
        names: the columns wanted: the package's name of each -> its name in the file.
        required: those of them that must be there, by the package's names.
        fallback: second names, for columns that the file does not have under the first.
        dialect: how the file is written.
        typed: read ids and times as int64 and ratings as float64 where every value allows it;
            otherwise everything stays text.
        renamable: whether there are options that name the columns.

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
    positions = _positions(path, found, names, required, renamable=renamable)
    columns = {column: pa.chunked_array([], pa.string()) for column in positions}
    if next(records, None) is not None:
        columns = _read_checked(source, found, positions, typed=typed)
    rows = len(next(iter(columns.values())))
    return DelimitedTable(path, dialect, names, found, rows, columns)


def _positions(
    path: Path, found: tuple[str, ...], names: Mapping[str, str], required: frozenset[str], *, renamable: bool
) -> dict[str, int]:
    """Where the wanted columns stand; optional ones may be absent."""
    listed = " ".join(", ".join(found).split())
    shown = f"columns wanted: {', '.join(names.values())}; found: {listed[:200]}{'...' * (len(listed) > 200)}"
    lower = {name.lower() for name in found}
    # An optional column under a name in another case is a slip: without it titles or ratings would be lost.
    missing = [c for c, n in names.items() if n not in found and (c in required or n.lower() in lower)]
    if missing:
        absent = " and no column ".join(names[column] for column in missing)
        hint = _header_hint(found, {column: names[column] for column in missing}, renamable=renamable)
        raise UserError(f"{path} line 1: no column {absent} ({shown}). {hint}")
    for column, name in names.items():
        if found.count(name) > 1:
            raise UserError(
                f"{path} line 1: {found.count(name)} columns are called {name}, one is wanted ({shown}). "
                f"Rename the others{f', or name the right one with --data.{column}_column' if renamable else ''}."
            )
    return {column: found.index(name) for column, name in names.items() if name in found}


def _header_hint(found: tuple[str, ...], missing: Mapping[str, str], *, renamable: bool) -> str:
    """What most likely went wrong with a header that lacks names, and the remedy."""
    text = ",".join(found)
    if text.startswith("<"):
        return "It looks like a web page: get the file again."
    if any(NUMBER.fullmatch(name) for name in found):
        return f"The first line seems to be data: add a header line with {' and '.join(missing.values())}."
    for separator, spoken in (("::", "'::'"), (";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        if separator in text:
            return f"Its fields seem to be separated by {spoken}: save it with ',' and a header line."
    if {name.lower() for name in missing.values()} <= {name.lower() for name in found}:
        return "The names differ only in upper and lower case: write them as wanted."
    if not renamable:
        return "Rename the column."
    options = " and ".join(f"--data.{column}_column" for column in missing)
    return f"If the file has another name for it, give that with {options}."


def _read_checked(
    source: Source, found: tuple[str, ...], positions: Mapping[str, int], *, typed: bool
) -> dict[str, Any]:
    """Read with types, but as text each column in which a value does not fit."""
    if source.quoted:
        # Arrow takes an unclosed quote silently, and the rows up to the next quote with it.
        check_records(source, len(found))
    typed = typed and not source.hexadecimal  # Arrow would read the id 0x10 as 16
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
