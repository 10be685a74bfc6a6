"""What a checkpoint keeps of the data, so that it stands alone and is not used on other data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.data.ids import IdMap
from lightning_lp.data.rating_graph import RatingGraph
from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.graph.split import LinkSplit

DATA_STATE = "MovieLensDataModule"
"""The part of a checkpoint that holds it: Lightning takes the class's name. A text, so that no move changes it."""
_SHOWN = 3


def load_values(path: Path | str, *, lazily: bool = False) -> dict[str, Any]:
    """Loads a file of named values to the CPU, without running what is in it.

    Args:
        path: the file.
        lazily: read the tensors only where they are used, for what the rest of the file tells.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        loaded = torch.load(path, weights_only=True, map_location="cpu", mmap=lazily)
        if not isinstance(loaded, dict):
            raise TypeError(f"a {type(loaded).__name__}")
        return loaded
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        raise UserError(f"{path} is not a checkpoint of lightning_lp, or is damaged: give another") from error


def graph_state(graph: RatingGraph, split: LinkSplit) -> dict[str, Any]:
    """Tensors, lists and texts that load with ``weights_only=True``."""
    return {
        "users": graph.users.state(),
        "movies": graph.movies.state(),
        "titles": graph.titles,
        "genres": graph.genres,
        "vocabulary": graph.genre_vocabulary,
        "terms": graph.title_vocabulary,
        "links": graph.data[RATES].edge_index.int(),
        "part": _parts(graph, split),
        "below_min_rating": graph.below_min_rating.int(),
        "dataset_fingerprint": graph.fingerprint,
        "split_fingerprint": split.fingerprint,
    }


def check_state(
    state: dict[str, Any], graph: RatingGraph, split: LinkSplit, root: Path, *, is_of_source: bool = False
) -> None:
    """Compares a checkpoint's :func:`graph_state` with the data at hand.

    Args:
        state: what the checkpoint tells.
        graph: the data.
        split: its split.
        root: where it was read from.
        is_of_source: whether the split is by time, and non-links are of a link's user: before 0.3 they were of any.

    Raises:
        UserError: users, movies, genres, titles that are read, links or the split differ. Names what is new and gone.
    """
    if difference := _difference(state, graph):
        raise UserError(
            f"the checkpoint was trained on other data than {root}: {difference}; name the data that it was trained on "
            "with --data.root, with the --data settings of that run (--config RUN/config.yaml), or train again"
        )
    if state["split_fingerprint"] != split.fingerprint:
        before = ", with --data.split.non_links any if it is of version 0.2 or before" * is_of_source
        raise UserError(
            "the checkpoint was trained on another split of the same data "
            f"({state['split_fingerprint']}, here {split.fingerprint}), so that links held out now may have been "
            f"trained on: give the --data settings of that run (--config RUN/config.yaml){before}, or train again"
        )


def _parts(graph: RatingGraph, split: LinkSplit) -> Tensor:
    """[num_links] uint8 the part of each link: 0 for training, 1 for validation, 2 for test."""
    part = torch.zeros(graph.data[RATES].num_edges, dtype=torch.uint8)
    for number, held_out in enumerate((split.val, split.test), start=1):
        labels = held_out[RATES]
        part[labels.edge_label_id[labels.edge_label > 0].long()] = number
    return part


def _difference(state: dict[str, Any], graph: RatingGraph) -> str:
    """How the data at hand differs from a checkpoint's, or an empty text."""
    ids = [
        _changes(kind, IdMap.from_state(state[kind]).ids, here.ids)
        for kind, here in (("users", graph.users), ("movies", graph.movies))
    ]
    if any(ids):
        return ", ".join(filter(None, ids))
    movies, terms = graph.movies.ids, state.get("terms", graph.title_vocabulary)
    found = (
        _changes("genres", state["vocabulary"], graph.genre_vocabulary)
        or _changes("words of titles", terms, graph.title_vocabulary)
        or _changes("genres of movies", _told(movies, state["genres"]), _told(movies, graph.genres))
    )
    if not found and terms:
        found = _changes("titles", _told(movies, state["titles"]), _told(movies, graph.titles))
    if found or state["dataset_fingerprint"] == graph.fingerprint:
        return found

    def link(pair: np.int64) -> str:
        user, movie = divmod(int(pair), len(movies))
        return f"({graph.users.ids[user]}, {movies[movie]})"

    then, now = (_pairs(links, len(movies)) for links in (state["links"], graph.data[RATES].edge_index))
    return _changes("links (user, movie)", then, now, link)


def _changes(
    kind: str, then: Sequence[Any] | NDArray[Any], now: Sequence[Any] | NDArray[Any], show: Callable[[Any], str] = str
) -> str:
    """How many are new and gone, and the first of them, or an empty text."""
    before, after = pd.Index(then), pd.Index(now)
    changes = (("new", after[~after.isin(before)]), ("gone", before[~before.isin(after)]))
    if not any(len(values) for _, values in changes):
        return ""
    return f"{kind}: " + ", ".join(f"{len(values):,} {what}{_first(values, show)}" for what, values in changes)


def _first(values: "pd.Index[Any]", show: Callable[[Any], str]) -> str:
    """The first few of many in brackets."""
    more = ", ..." if len(values) > _SHOWN else ""
    return f" ({', '.join(map(show, values[:_SHOWN]))}{more})" if len(values) else ""


def _told(movies: NDArray[Any], texts: Sequence[str]) -> list[str]:
    """What is told of each movie."""
    return [f"{movie} {text!r}" for movie, text in zip(movies, texts, strict=True)]


def _pairs(links: Tensor, num_movies: int) -> NDArray[np.int64]:
    """[2, n] (user, movie) pairs as one number each."""
    user, movie = links.long().numpy()
    pairs: NDArray[np.int64] = user * num_movies + movie
    return pairs
