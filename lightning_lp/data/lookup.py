"""Finds the ids that people give: as a file of theirs has them, or as a CSV file of ours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_lp.data.ids import IdMap
from lightning_lp.errors import UserError
from lightning_lp.escape import from_cell


class UnknownError(UserError):
    """There is no user, movie or genre of that name."""


def look_up(ids: IdMap, texts: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int64]:
    """The node index of each id, -1 where unknown: [len(texts)] int64.

    An id that no file holds is looked up without the apostrophe of :func:`~lightning_lp.escape.cell`, too.
    """
    index = ids.index_of_text(texts)
    unknown = index < 0
    if unknown.any():
        index[unknown] = ids.index_of_text([from_cell(texts[i]) for i in np.flatnonzero(unknown).tolist()])
    return index


def look_up_one(ids: IdMap, text: str) -> int:
    """As :func:`look_up` for a single id, in a hundredth of its time."""
    index = ids.index_of(text)
    return index if index >= 0 else ids.index_of(from_cell(text))


def known_indices(ids: IdMap, wanted: Sequence[int | str], kind: str, hint: str = "") -> NDArray[np.int64]:
    """The node index of each id: [len(wanted)] int64.

    Args:
        ids: those that are known.
        wanted: ids as people give them.
        kind: what they are of, ``user`` or ``movie``.
        hint: what the sentence ends with.

    Raises:
        UnknownError: one is unknown.
    """
    texts = [str(value) for value in wanted]
    index = look_up(ids, texts) if len(texts) > 1 else np.array([look_up_one(ids, text) for text in texts], np.int64)
    if (index < 0).any():
        first = texts[int(np.argmax(index < 0))]
        raise UnknownError(f"{kind} {first!r} is not one of the {len(ids):,} {kind}s that the model knows{hint}")
    return index
