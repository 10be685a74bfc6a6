"""What users have done, as edges that an encoder reads: those that a checkpoint knows, and new ones."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.rating_graph import genre_names, multi_hot
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.data.titles import title_terms

_TYPES = {"time": np.int64, "rating": np.float32}


def known_graph(state: Mapping[str, Any]) -> HeteroData:
    """The graph of all that a checkpoint knows: its nodes with their features, and all links, held-out ones included.

    Args:
        state: as ``MovieLensDataModule.state_dict()`` gives it.
    """
    titles, links = state["titles"], state["links"].long()
    data = HeteroData()
    data[USER].node_id, data[MOVIE].node_id = torch.arange(len(state["users"])), torch.arange(len(titles))
    data[MOVIE].x = multi_hot([genre_names(text) for text in state["genres"]])[1]
    data[MOVIE].terms = title_terms(titles if state.get("terms") else [""] * len(titles))[1]
    data[RATES].edge_index, data[REV_RATES].edge_index = links, links.flip(0)
    for name, values in state.get("edge_attrs", {}).items():
        data[RATES][name] = data[REV_RATES][name] = values
    return data


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


def filled(ratings: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The ratings with the mean of the others for each that is not a number; None if none is one."""
    is_blank = np.isnan(ratings)
    return None if is_blank.all() else np.where(is_blank, ratings[~is_blank].mean(), ratings)


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
