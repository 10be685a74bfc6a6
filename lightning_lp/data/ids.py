"""External ids and node indices: the one mapping between them, and what counts as an id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lightning_lp.data.delimited import NUMBER, DelimitedTable
from lightning_lp.errors import UserError

Index = npt.NDArray[np.integer[Any]]
_Integer = TypeVar("_Integer", bound=np.integer[Any])

_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, eq=False)
class IdMap:
    """External ids <-> node indices, fixed once made.

    The order of the nodes is that of the sorted ids: it depends on nothing else.

    Attributes:
        ids: sorted and distinct, shape ``[len]``: int64, or object of ``str`` for ids that are text or do
            not fit 64 bits.
    """

    ids: npt.NDArray[Any]

    @classmethod
    def from_values(cls, values: Iterable[Any]) -> "IdMap":
        """Map the distinct values: whole numbers of up to 64 bits as such, everything else as text."""
        # A list goes by way of object: numpy would round [2**63, -1] to float64.
        array = np.asarray(values if hasattr(values, "dtype") else np.array(list(values), dtype=object))
        return cls(_sorted_ids([_plain(value) for value in pd.unique(array).tolist()]))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IdMap):
            return NotImplemented
        return self.ids.dtype == other.ids.dtype and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]

    def index(self, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The node index of each id, -1 where unknown: shape ``[len(values)]``, int64."""
        found: npt.NDArray[np.int64] = self._lookup.get_indexer(pd.Index(np.asarray(values)))
        return found

    def index_of_text(self, texts: Iterable[str]) -> npt.NDArray[np.int64]:
        """As :meth:`index`, for ids as a user types them: ``"3"`` and ``"3.0"`` are one whole number."""
        codes, distinct = pd.factorize(np.array(list(texts), dtype=object))
        stripped: list[Any] = [str(text).strip() for text in distinct]
        if self.ids.dtype == np.int64:
            stripped = [_whole_number(text) for text in stripped]
        known = {value: index for index, value in enumerate(self.ids.tolist())}
        return per_row(np.array([known.get(value, -1) for value in stripped], dtype=np.int64), codes)

    def state(self) -> torch.Tensor | list[str]:
        """The ids as plain data, for a checkpoint that is loaded with ``weights_only=True``."""
        return torch.tensor(self.ids) if self.ids.dtype == np.int64 else list(self.ids)

    @classmethod
    def from_state(cls, state: torch.Tensor | list[str]) -> "IdMap":
        """The map whose :meth:`state` this is."""
        return cls(state.numpy() if isinstance(state, torch.Tensor) else np.array(state, dtype=object))

    @cached_property
    def _lookup(self) -> Any:
        return pd.Index(self.ids)


def read_ids(tables: Sequence[DelimitedTable], column: str) -> list[tuple[IdMap, Index]]:
    """The ids in a column, read by one rule in all the tables that hold it.

    Blank cells are missing. If every other cell is a whole number (``3``, ``3.0``, ``1e3``) the ids are
    int64; if some do not fit 64 bits, their decimal text. If any cell is not a number, all ids are text,
    stripped and otherwise as written.

    Returns:
        For each table its distinct ids and, for each row, the index of its id (-1: missing), in the smallest
        integers that hold it.

    Raises:
        UserError: all cells are numbers, but not all are whole.
    """
    if not any(table.is_text(column) for table in tables):
        return [_factorize(*table.numbers(column)) for table in tables]
    distinct = [table.distinct(column) for table in tables]
    ids: list[list[Any]] = [texts for texts, _ in distinct]
    if all(NUMBER.fullmatch(text) for texts in ids for text in texts):
        ids = [
            [_whole_cell(table, column, text, codes, code) for code, text in enumerate(texts)]
            for table, (texts, codes) in zip(tables, distinct, strict=True)
        ]
        if not all(value in _INT64 for values in ids for value in values):
            ids = [[str(value) for value in values] for values in ids]
    return [_index_rows(values, codes) for values, (_, codes) in zip(ids, distinct, strict=True)]


def _plain(value: object) -> int | str:
    if isinstance(value, int | str):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return int(value) if value.is_integer() else str(value)
    raise ValueError(f"an id is a whole number or a text, got {value!r}")


def _sorted_ids(values: Iterable[int | str]) -> npt.NDArray[Any]:
    distinct = set(values)
    if all(isinstance(value, int) and value in _INT64 for value in distinct):
        return np.array(sorted(distinct), dtype=np.int64)
    return np.array(sorted({str(value) for value in distinct}), dtype=object)


def _whole_number(text: str) -> int | None:
    if not NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else None


def _whole_cell(table: DelimitedTable, column: str, text: str, codes: npt.NDArray[np.int64], code: int) -> int:
    number = _whole_number(text)
    if number is None:
        place = table.place(int(np.argmax(codes == code)), column)
        raise UserError(f"{place}: {text!r} found, whole number wanted: correct the id.")
    return number


def _factorize(values: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_]) -> tuple[IdMap, Index]:
    codes, ids = pd.factorize(values[~missing] if missing.any() else values, sort=True)
    index = np.full(len(values), -1, dtype=_smallest(len(ids)))
    index[~missing] = codes
    return IdMap(ids), index


def _index_rows(values: list[Any], codes: npt.NDArray[np.int64]) -> tuple[IdMap, Index]:
    ids = IdMap(_sorted_ids(values))
    index = ids.index(np.array(values, dtype=ids.ids.dtype))
    return ids, per_row(index.astype(_smallest(len(ids))), codes)


def _smallest(num_ids: int) -> np.dtype[Any]:
    """The smallest signed integers that count so far."""
    return np.min_scalar_type(-num_ids - 1)


def per_row(values: npt.NDArray[_Integer], codes: Index) -> npt.NDArray[_Integer]:
    """``values[codes]``, where code -1 gives -1."""
    return np.append(values, values.dtype.type(-1))[codes]
