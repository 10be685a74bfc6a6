"""Finds the ids that people give: as a file of theirs has them, or as a CSV file of ours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_lp.data.ids import IdMap
from lightning_lp.escape import from_cell


def look_up(ids: IdMap, texts: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int64]:
    """The node index of each id, -1 where unknown: [len(texts)] int64.

    An id that no file holds is looked up without the apostrophe of :func:`~lightning_lp.escape.cell`, too.
    """
    index = ids.index_of_text(texts)
    unknown = index < 0
    if unknown.any():
        index[unknown] = ids.index_of_text([from_cell(texts[i]) for i in np.flatnonzero(unknown).tolist()])
    return index
