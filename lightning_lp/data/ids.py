"""External ids and node indices: the one mapping between them, and what counts as an id."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from lightning_lp.data.files.cells import NUMBER, WHOLE, WORDS, loosely
from lightning_lp.data.files.raw_table import Codes, RawTable, smallest
from lightning_lp.errors import UserError

Index = npt.NDArray[np.integer[Any]]
_Integer = TypeVar("_Integer", bound=np.integer[Any])

_INT64 = range(-(2**63), 2**63)
_FRACTION = re.compile(r"-?\d*\.\d*[1-9]\d*", re.ASCII)
_MAX_FRACTIONS = 0.1
"""Share of the distinct ids: fewer with a fraction among whole numbers are slips, more are ids such as ``1.10``."""


@dataclass(frozen=True, eq=False)
class IdMap:
    """External ids <-> node indices, fixed once made.

    The order of the nodes is that of the sorted ids, and depends on nothing else; but in a run that updates another
    those that the other knew come first, in its order.

    Attributes:
        ids: distinct, shape ``[len]``: int64, or object of ``str`` for ids that are text.

    Examples:
        >>> from lightning_lp.data.ids import IdMap
        >>> users = IdMap.from_values([30, 7, 30])
        >>> users.ids, users.index([7, 30, 8])
        (array([ 7, 30]), array([ 0,  1, -1]))
        >>> IdMap.from_values(["007", "7"]).ids  # texts stay as they are
        array(['007', '7'], dtype=object)
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
        """As :meth:`index`, for ids as a user types them: where ids are numbers, ``"3"`` and ``"3.0"`` are one."""
        codes, distinct = pd.factorize(np.array(list(texts), dtype=object))
        return per_row(np.array([self.index_of(str(text)) for text in distinct], dtype=np.int64), codes)

    def index_of(self, text: str) -> int:
        """The node index of an id as a user types it, -1 where unknown."""
        return self._index.get(self.plain(text), -1)

    def plain(self, text: str) -> int | str:
        """An id as a user types it, whether it is known or not, as the ids here are: a number, or a text.

        Examples:
            >>> from lightning_lp.data.ids import IdMap
            >>> numbers, texts = IdMap.from_values([1, 2]), IdMap.from_values(["a", "b"])
            >>> numbers.plain(" 3.0 "), numbers.plain("c"), texts.plain("3.0")
            (3, 'c', '3.0')
        """
        stripped = text.strip()
        is_number = self.ids.dtype == np.int64 and WHOLE.fullmatch(stripped)
        return int(stripped.removesuffix(".0")) if is_number else stripped

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

    @cached_property
    def _index(self) -> dict[int | str, int]:
        return {value: index for index, value in enumerate(self.ids.tolist())}


def read_ids(tables: Sequence[RawTable], column: str, *, as_text: bool = False) -> list[tuple[IdMap, Index]]:
    """The ids in a column, read by one rule in all the tables that hold it.

    Ids are whole numbers, int64, if every cell is one as it is printed (``3``; ``3.0`` is the same). Otherwise they
    are text, stripped and as written: ``007``, ``+49``, ``1e3``, ``1.10``, more than 64 bits hold. ``MARKS`` are
    missing and, where every other cell is a number, ``WORDS``, too.

    Args:
        tables: the tables.
        column: the column.
        as_text: take all ids as text.

    Returns:
        For each table its distinct ids and, for each row, the index of its id (-1: missing), in the smallest
        integers that hold it.

    Raises:
        UserError: all cells are whole numbers but a few, which have a fraction.
    """
    distinct = [table.distinct(column) for table in tables]
    texts = pa.concat_arrays([texts for texts, _ in distinct])
    texts = texts.filter(pc.invert(pc.is_in(texts, pa.array(WORDS))))
    are_numbers = bool(pc.all(_match(texts, NUMBER), min_count=0).as_py())
    if are_numbers:
        distinct = [_without_words(*of_table) for of_table in distinct]
    if are_numbers and not as_text:
        _check_fractions(tables, column, distinct, texts)
        with suppress(pa.ArrowInvalid):  # some are not whole, or 64 bits do not hold them
            return [_index_rows(_whole_numbers(of_table), codes) for of_table, codes in distinct]
    return [_index_rows(np.array(of_table.to_pylist(), dtype=object), codes) for of_table, codes in distinct]


def joint_ids(found: Sequence[tuple[IdMap, Index]]) -> tuple[IdMap, list[Index]]:
    """The ids of several tables, and for the rows of each the index of its id among all of them.

    Args:
        found: those of each table, as :func:`read_ids` gives them.
    """
    if len(found) == 1:
        ((ids, rows),) = found
        return ids, [rows]
    ids = IdMap(np.unique(np.concatenate([of_table.ids for of_table, _ in found])))
    return ids, [per_row(ids.index(of_table.ids).astype(smallest(len(ids))), rows) for of_table, rows in found]


def id_notes(name: str, ids: IdMap) -> list[str]:
    """What a user should know of ids that are text.

    Args:
        name: the column's name in the file.
        ids: its ids.
    """
    if ids.ids.dtype != object:
        return []
    notes = []
    if words := sorted(set(WORDS).intersection(ids.ids)):
        notes.append(f"column {name} holds text, so that {' and '.join(map(repr, words))} count as ids")
    alike = [bare for bare, count in Counter(map(loosely, ids.ids)).items() if count > 1]
    if alike:
        some = [text for text in ids.ids if loosely(text) == alike[0]]
        notes.append(f"column {name}: {' and '.join(map(repr, some[:2]))} are two ids, for ids are text as written")
    return notes


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


def _match(texts: Any, pattern: re.Pattern[str]) -> Any:
    """Which texts of an array the pattern matches in full."""
    return pc.match_substring_regex(texts, rf"\A(?:{pattern.pattern})\z")


def _without_words(texts: Any, codes: Codes) -> tuple[Any, Codes]:
    """The distinct texts without those that stand for a missing number."""
    kept = texts.filter(pc.invert(pc.is_in(texts, pa.array(WORDS))))
    if len(kept) == len(texts):
        return texts, codes
    return kept, per_row(pc.index_in(texts, kept).fill_null(-1).to_numpy().astype(codes.dtype), codes)


def _whole_numbers(texts: Any) -> npt.NDArray[np.int64]:
    """Whole numbers from their texts, or ``ArrowInvalid`` if one would not come out as it went in."""
    if not pc.all(_match(texts, WHOLE), min_count=0).as_py():
        raise pa.ArrowInvalid
    numbers: npt.NDArray[np.int64] = pc.replace_substring_regex(texts, r"\.0\z", "").cast(pa.int64()).to_numpy()
    return numbers


def _check_fractions(
    tables: Sequence[RawTable], column: str, distinct: Sequence[tuple[Any, Codes]], texts: Any
) -> None:
    """Refuses a few ids with a fraction among whole numbers: slips, which are never cut to whole numbers."""
    odd = texts.filter(pc.invert(_match(texts, WHOLE)))
    if not 0 < len(odd) < _MAX_FRACTIONS * len(texts) or not pc.all(_match(odd, _FRACTION)).as_py():
        return
    for table, (of_table, codes) in zip(tables, distinct, strict=True):
        is_odd = np.append(pc.is_in(of_table, odd).to_numpy(zero_copy_only=False), False)[codes]
        if is_odd.any():
            row = int(is_odd.argmax())
            raise UserError(
                f"{table.place(row, column)}: {table.text(row, column).strip()!r} found, whole number wanted, as "
                "nearly all others are: correct the id, or take all as text with --data.text_ids true."
            )


def _index_rows(values: npt.NDArray[Any], codes: Codes) -> tuple[IdMap, Index]:
    ids, index = np.unique(values, return_inverse=True)
    return IdMap(ids), per_row(index.astype(smallest(len(ids))), codes)


def per_row(values: npt.NDArray[_Integer], codes: Index) -> npt.NDArray[_Integer]:
    """``values[codes]``, where code -1 gives -1."""
    return np.append(values, values.dtype.type(-1))[codes]
