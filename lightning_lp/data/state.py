"""What a checkpoint keeps of the data, so that it stands alone and is not used on other data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lightning_lp.data.graph import RatingGraph
from lightning_lp.data.ids import IdMap
from lightning_lp.data.schema import RATES
from lightning_lp.data.split import LinkSplit
from lightning_lp.errors import UserError


def graph_state(graph: RatingGraph, split: LinkSplit) -> dict[str, Any]:
    """Tensors, lists and texts that load with ``weights_only=True``."""
    return {
        "users": graph.users.state(),
        "movies": graph.movies.state(),
        "titles": graph.titles,
        "genres": graph.genres,
        "vocabulary": graph.vocabulary,
        "links": graph.data[RATES].edge_index.int(),
        "below_min_rating": graph.below_min_rating.int(),
        "dataset_fingerprint": graph.fingerprint,
        "split_fingerprint": split.fingerprint,
    }


def check_state(state: dict[str, Any], graph: RatingGraph, split: LinkSplit, root: Path) -> None:
    """Compares a checkpoint's :func:`graph_state` with the data at hand, read from ``root``.

    Raises:
        UserError: users, movies, genres, links or the split differ.
    """
    if difference := _difference(state, graph):
        raise UserError(
            f"the checkpoint was trained on other data than {root}: {difference}; "
            "name the data that it was trained on with --data.root, or train again"
        )
    if state["split_fingerprint"] != split.fingerprint:
        raise UserError(
            "the checkpoint was trained on another split of the same data "
            f"({state['split_fingerprint']}, here {split.fingerprint}), so that links held out now may "
            "have been trained on: give the --data settings of that run (--config RUN/config.yaml), or train again"
        )


def _difference(state: dict[str, Any], graph: RatingGraph) -> str:
    """How a checkpoint's data differs from the graph's, or an empty text."""
    for kind, here in (("users", graph.users), ("movies", graph.movies)):
        there = IdMap.from_state(state[kind])
        if there != here:
            new = here.ids[there.index(here.ids) < 0]
            gone = there.ids[here.index(there.ids) < 0]
            return f"{len(there)} {kind} there, {len(here)} here; new: {_first(new)}; gone: {_first(gone)}"
    unknown = sorted(set(graph.vocabulary) - set(state["vocabulary"]))
    if unknown:
        return f"it does not know the genre {_first(unknown)}"
    if state["dataset_fingerprint"] != graph.fingerprint:
        return "the same users and movies, but other ratings or genres"
    return ""


def _first(ids: Sequence[Any] | NDArray[Any]) -> str:
    """The first few of many, for a message."""
    shown = ", ".join(str(value) for value in ids[:3])
    return (shown or "none") + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
