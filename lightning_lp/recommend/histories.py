"""What new users have done, as edges that an encoder reads."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TYPES = {"time": np.int64, "rating": np.float32}


def new_edges(
    histories: Sequence[NDArray[np.int64]], attrs: Mapping[str, Sequence[NDArray[Any]] | None], read: Collection[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The links of new users, of each the earliest first; of a movie that is there more than once, the last.

    Args:
        histories: for each user the indices of its movies, the latest last.
        attrs: ``time`` and ``rating``, for each user those of each movie, or None. Times tell the order.
        read: which of them are wanted.

    Returns:
        [2, num_edges] int64 (movie, user), and the attributes of these edges, ``time`` int64 and ``rating`` float32.

    Raises:
        ValueError: there are more or fewer times or ratings than movies.

    Examples:
        >>> import numpy as np
        >>> from lightning_lp.recommend.histories import new_edges
        >>> histories, times = [np.array([5, 7, 5]), np.array([7])], [np.array([30, 20, 10]), np.array([0])]
        >>> new_edges(histories, {"time": times}, read=["time"])
        (tensor([[7, 5, 7],
                [0, 0, 1]]), {'time': tensor([20, 30,  0])})
    """
    given = {name: values for name, values in attrs.items() if values is not None}
    for name, values in given.items():
        if [*map(len, values)] != [*map(len, histories)]:
            raise ValueError(f"{name}s of {[*map(len, values)]} movies: those of {[*map(len, histories)]} wanted")
    times = given.get("time")
    order = [_in_order(movies, None if times is None else times[i]) for i, movies in enumerate(histories)]
    user = np.repeat(np.arange(len(order)), [len(places) for places in order])
    edge_index = torch.from_numpy(np.stack([_taken(histories, order, np.int64), user]))
    wanted = {name: _taken(values, order, _TYPES[name]) for name, values in given.items() if name in read}
    return edge_index, {name: torch.from_numpy(values) for name, values in wanted.items()}


def _in_order(history: NDArray[np.int64], time: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The places of a user's movies, the latest last, of each movie its last one."""
    order = np.arange(len(history)) if time is None else np.argsort(time, kind="stable")
    last = np.unique(history[order][::-1], return_index=True)[1]
    kept: NDArray[np.int64] = order[np.sort(len(order) - 1 - last)]
    return kept


def _taken(values: Sequence[NDArray[Any]], order: Sequence[NDArray[np.int64]], dtype: type) -> NDArray[Any]:
    """What stands at these places, for one user after the other."""
    taken = [of_user[places] for of_user, places in zip(values, order, strict=True)]
    return np.concatenate([np.empty(0, dtype), *taken]).astype(dtype)
