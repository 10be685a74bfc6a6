"""Some columns of a file as they were read, whatever its format, and where each cell stands in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lightning_lp.data.files.cells import MARKS

Codes = npt.NDArray[np.signedinteger[Any]]


class TableFile(Protocol):
    """A file that can be asked again, where an error must name a cell."""

    @property
    def unit(self) -> Literal["line", "row"]:
        """What is counted in it."""

    def number(self, row: int) -> int:
        """The number, from 1, of data row ``row``, from 0."""

    def texts(self, name: str) -> Any:
        """A column as texts: a chunked array of strings."""


@dataclass(frozen=True)
class RawTable:
    """Some columns of a file, by the package's own names.

    Attributes:
        path: the file.
        names: for each column wanted, its name in the file. ``column in table`` tells whether it is there.
        found: all column names of the file.
        rows: number of data rows.
    """

    path: Path
    names: Mapping[str, str]
    found: tuple[str, ...]
    rows: int
    _columns: Mapping[str, Any] = field(repr=False)
    _file: TableFile = field(repr=False)

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

    def with_texts(self, column: str, texts: Sequence[str]) -> "RawTable":
        """The same table with a column of texts more."""
        columns = {**self._columns, column: pa.chunked_array([pa.array(texts, pa.string())])}
        return replace(self, names={**self.names, column: column}, _columns=columns)

    def without(self, column: str) -> "RawTable":
        """The same table without a column."""
        return replace(self, _columns={name: values for name, values in self._columns.items() if name != column})

    def distinct(self, column: str) -> tuple[Any, Codes]:
        """The distinct texts of a column, stripped, as an array of strings, and for each row which it is.

        Returns:
            The texts, none of them one of ``MARKS``, and the codes, -1 where missing, in the smallest integers that
            hold them.
        """
        encoded = self._columns[column]
        if not pa.types.is_dictionary(encoded.type):
            encoded = self._text_column(column).dictionary_encode()
        encoded = encoded.unify_dictionaries()  # or each chunk numbers its own
        chunks = encoded.chunks
        dictionary = chunks[0].dictionary if chunks else pa.array([], pa.string())
        stripped = pc.utf8_trim_whitespace(dictionary)
        texts = pc.unique(stripped)
        texts = texts.filter(pc.invert(pc.is_in(texts, pa.array(MARKS))))
        code_of = pc.index_in(stripped, texts).fill_null(-1).to_numpy()
        code_of = np.append(code_of, -1).astype(smallest(len(texts)))  # the last is that of a cell without a value
        return texts, np.concatenate([code_of[:0], *(code_of[_indices(chunk)] for chunk in chunks)])

    def line(self, row: int) -> int:
        """The line (of a file without lines: the row), from 1, where data row ``row``, from 0, begins."""
        return self._file.number(row)

    @property
    def unit(self) -> Literal["line", "row"]:
        """What :meth:`line` counts."""
        return self._file.unit

    def place(self, row: int, column: str) -> str:
        """A cell in words, for an error: file, line and column."""
        return f"{self.path} {self.unit} {self.line(row)}, column {self.names[column]}"

    def _text_column(self, column: str) -> Any:
        values = self._columns[column]
        if pa.types.is_dictionary(values.type):
            return values.cast(pa.string()).fill_null("")
        return values if self.is_text(column) else self._file.texts(self.names[column])


def _indices(chunk: Any) -> Codes:
    """Which entry of its dictionary each cell is, -1 where it has no value."""
    indices = chunk.indices
    found: Codes = (indices.fill_null(-1) if indices.null_count else indices).to_numpy()
    return found


def smallest(count: int) -> np.dtype[Any]:
    """The smallest signed integers that count so far, and hold -1."""
    return np.min_scalar_type(-count - 1)
