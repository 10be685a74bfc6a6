"""Reads Parquet files into raw tables: typed columns arrive as those of a CSV file with the same values would."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lightning_lp.data.files.header import COLUMN_OPTIONS, find_columns
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.errors import UserError

_MAGIC = b"PAR1"


@dataclass(frozen=True)
class _Rows:
    """A Parquet file, for what is seldom asked: it is read again."""

    path: Path

    @property
    def unit(self) -> Literal["row"]:
        return "row"

    def number(self, row: int) -> int:
        return row + 1

    def texts(self, name: str) -> Any:
        return _texts(_read(self.path, [name])[name])


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does; what is no file of a disk, such as a pipe, can be read only once."""
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False  # the reader of text says why


def read_parquet(
    path: Path,
    names: Mapping[str, str],
    *,
    required: frozenset[str] = frozenset(),
    fallback: Mapping[str, str] = MappingProxyType({}),
    typed: bool = True,
    options: Mapping[str, str] = COLUMN_OPTIONS,
) -> RawTable:
    """Read some columns of a Parquet file. The arguments are those of ``formats.read_columns``.

    Raises:
        UserError: the file cannot be read, is damaged or lacks a column.
    """
    as_read = _TYPED if typed else {}
    try:
        found = tuple(name.strip() for name in _open(path).schema_arrow.names)
        second = {c: n for c, n in fallback.items() if names[c] not in found and n in found}
        names = {**names, **second}
        positions = find_columns(str(path), found, names, required, options)
        table = _read(path, [names[column] for column in positions])
        columns = {column: as_read.get(column, _texts)(table[names[column]]) for column in positions}
    except (pa.ArrowException, OSError) as error:
        first = str(error).split("\n")[0].rstrip(".")
        raise UserError(f"{path} cannot be read as Parquet ({first}): get the file again.") from None
    return RawTable(path, names, found, len(next(iter(columns.values()))), columns, _Rows(path))


def _open(path: Path) -> Any:
    # Buffering ahead would take Arrow's threads, which outlive the reading and abort a process that ends soon after.
    return pq.ParquetFile(pa.OSFile(str(path)), pre_buffer=False)


def _read(path: Path, names: list[str]) -> dict[str, Any]:
    with _open(path) as file:
        full = {name.strip(): name for name in reversed(file.schema_arrow.names)}
        table = file.read(columns=[full[name] for name in names], use_threads=False)
    columns = {name: table[full[name]] for name in names}
    return {name: c.cast(pa.string()) if pa.types.is_null(c.type) else c for name, c in columns.items()}


def _ids(values: Any) -> Any:
    """Each id once, as text: what is distinct is found before it is made a text."""
    if pa.types.is_nested(values.type):
        values = _texts(values)
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    encoded = pa.dictionary(pa.int32(), pa.string())
    chunks = [pa.DictionaryArray.from_arrays(c.indices.cast(pa.int32()), _texts(c.dictionary)) for c in values.chunks]
    return pa.chunked_array(chunks, encoded)


def _ratings(values: Any) -> Any:
    """Numbers as float64, not-a-number as a missing one; anything else as text."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = values.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    return _texts(values)


def _times(values: Any) -> Any:
    """Whole numbers, and dates as seconds since 1970, as int64; anything else as text."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        with suppress(pa.ArrowInvalid):  # a fraction, or more than 64 bits hold
            return values.cast(pa.int64())
    return _texts(values)


_TYPED = {"user": _ids, "movie": _ids, "rating": _ratings, "time": _times}


def _texts(values: Any) -> Any:
    """Values as a CSV file would hold them, no value as an empty text; lists as JSON."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_nested(values.type):
        return _mapped(values, lambda value: json.dumps(value, default=str))
    if pa.types.is_floating(values.type):
        return _mapped(values, _float_text)
    return values.cast(pa.string()).fill_null("")


def _mapped(values: Any, text_of: Callable[[Any], str]) -> Any:
    texts = pa.array(["" if value is None else text_of(value) for value in values.to_pylist()], pa.string())
    return pa.chunked_array([texts]) if isinstance(values, pa.ChunkedArray) else texts


def _float_text(value: float) -> str:
    """Whole numbers in full, as ``3.0``; not-a-number is a missing value."""
    if value != value:
        return ""
    return f"{value:.1f}" if value.is_integer() else repr(value)
