"""Reads the wanted columns of a table, in whichever format the file is: its first bytes tell, not its name."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lightning_lp.data.files.delimited import read_delimited
from lightning_lp.data.files.header import COLUMN_OPTIONS
from lightning_lp.data.files.parquet import is_parquet, read_parquet
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.files.records import CSV, Dialect

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
"""The usual ends of the names of what can be read, in the order in which they are looked for."""


def read_columns(
    path: Path,
    names: Mapping[str, str],
    *,
    required: frozenset[str] = frozenset(),
    fallback: Mapping[str, str] = MappingProxyType({}),
    dialect: Dialect = CSV,
    typed: bool = True,
    options: Mapping[str, str] = COLUMN_OPTIONS,
) -> RawTable:
    """Read some columns of a file: CSV, as it is or packed by gzip or zstd, or Parquet.

    Args:
        path: the file.
        names: the columns wanted: the package's name of each -> its name in the file.
        required: those of them that must be there, by the package's names.
        fallback: second names, for columns that the file does not have under the first.
        dialect: how a text file is written.
        typed: read ratings as float64 and times as int64 where every value allows it; otherwise everything is text.
        options: the options that name the columns, by the package's names, for errors; none: there are none.

    Raises:
        UserError: the file cannot be read, is damaged, lacks a column or has a malformed row.
    """
    if is_parquet(path):
        return read_parquet(path, names, required=required, fallback=fallback, typed=typed, options=options)
    return read_delimited(
        path, names, required=required, fallback=fallback, dialect=dialect, typed=typed, options=options
    )
