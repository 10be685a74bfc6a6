"""The run that another one updates: known users and movies keep their places, and links their part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.data.ids import IdMap
from lightning_lp.data.rating_graph import RatingGraph
from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.data.state import DATA_STATE, load_values
from lightning_lp.data.tables import Tables
from lightning_lp.errors import UserError
from lightning_lp.graph.strategies import NEW

Places = NDArray[np.int64]
SIZES = ("num_users", "num_movies", "num_features", "num_terms")
"""The sizes of a graph whose rows have names: ids, genres and terms of titles."""


@dataclass(frozen=True)
class Changes:
    """What is new since the previous run, and what is gone.

    Attributes:
        links: how many ratings are new.
        users: how many users are.
        movies: how many movies are.
        links_gone: how many ratings are there no more.
        users_gone: how many users are not.
        movies_gone: how many movies are not.
        links_changed: how many ratings have another value, or time, than the model was told.
        movies_changed: how many movies have another title, or other genres.
        links_kept: how many links the split would hold out, had the previous run not trained on them, or
            on later ones.
    """

    links: int = 0
    users: int = 0
    movies: int = 0
    links_gone: int = 0
    users_gone: int = 0
    movies_gone: int = 0
    links_changed: int = 0
    movies_changed: int = 0
    links_kept: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return any(value for name, value in vars(self).items() if name != "links_kept")


class Previous:
    """What a checkpoint tells of the run that is updated. Its weights are read when they are asked for.

    Args:
        path: the checkpoint.

    Raises:
        UserError: it is no checkpoint, or one of an earlier version, which does not tell the part of each link.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._content = load_values(path, lazily=True)
        self.state: Mapping[str, Any] = self._content.get(DATA_STATE) or {}
        if "part" not in self.state:
            raise UserError(
                f"{path} does not tell which links it was trained on, as checkpoints of lightning_lp do from 0.3 on: "
                "train anew, with fit"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Previous":
        """Copies of a model share it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads the file itself."""
        return Previous, (str(self.path),)

    @cached_property
    def names(self) -> dict[str, NDArray[Any]]:
        """What the rows of each of ``SIZES`` stand for."""
        users, movies = (IdMap.from_state(self.state[kind]).ids for kind in ("users", "movies"))
        return dict(zip(SIZES, (users, movies, self.state["vocabulary"], self.state["terms"]), strict=True))

    @property
    def encoder(self) -> Mapping[str, Any]:
        """Dotted path and options of its encoder."""
        found: Mapping[str, Any] = self._content["hyper_parameters"]["encoder"]
        return found

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters and buffers of its encoder."""
        weights, prefix = self._content["state_dict"], "encoder."
        return {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}

    def places(self, graph: RatingGraph) -> dict[str, Places]:
        """For each of ``SIZES`` the place that each row of a graph had before, -1 if it is new."""
        now: tuple[Any, ...] = (graph.users.ids, graph.movies.ids, graph.genre_vocabulary, graph.title_vocabulary)
        return {name: _index(self.names[name], rows) for name, rows in zip(SIZES, now, strict=True)}

    def ordered(self, tables: Tables) -> Tables:
        """The tables with known users and movies first, in the order that they had, and new ones after them.

        Raises:
            UserError: no user, or no movie, is known.
        """
        users = _known_first(self.names["num_users"], tables.users.ids)
        movies = _known_first(self.names["num_movies"], tables.movies[MOVIE].to_numpy())
        for kind, known in (("users", users.num_known), ("movies", movies.num_known)):
            if not known:
                raise UserError(
                    f"none of the {kind} in {tables.name} is known to {self.path}: that is other data, train on it "
                    "anew, with fit"
                )
        coded = tables.coded.assign(
            **{
                USER: users.place[tables.coded[USER].to_numpy()].astype(tables.coded[USER].dtype),
                MOVIE: movies.place[tables.coded[MOVIE].to_numpy()].astype(tables.coded[MOVIE].dtype),
            }
        )
        return replace(
            tables,
            users=IdMap(tables.users.ids[users.order]),
            movies=tables.movies.iloc[movies.order].reset_index(drop=True),
            coded=coded.sort_values([USER, MOVIE], ignore_index=True),
        )

    def parts(self, graph: RatingGraph) -> Tensor:
        """[num_links] uint8 the part that each link had, as ``split_links`` takes it: ``NEW`` if it is new."""
        before = self._link_places(graph)
        part = np.append(self.state["part"].numpy(), NEW)
        return torch.from_numpy(part[before])

    def changes(self, graph: RatingGraph, num_kept: int = 0) -> Changes:
        """What is new and gone.

        Args:
            graph: the graph of now.
            num_kept: ``links_kept``.
        """
        places, links = self.places(graph), self._link_places(graph)
        is_known, movies = links >= 0, places["num_movies"]
        new = {name: int((places[size] < 0).sum()) for name, size in (("users", SIZES[0]), ("movies", SIZES[1]))}
        gone = {f"{name}_gone": len(self.names[f"num_{name}"]) - len(places[f"num_{name}"]) + new[name] for name in new}
        told = {
            name: values.numpy()[links[is_known]] != graph.data[RATES][name].numpy()[is_known]
            for name, values in self.state.get("edge_attrs", {}).items()
            if name in graph.data[RATES]
        }
        described = list(zip(self.state["titles"], self.state["genres"], strict=True))
        now = zip(graph.titles, graph.genres, strict=True)
        return Changes(
            **new,
            **gone,
            links=int((~is_known).sum()),
            links_gone=len(self.state["part"]) - int(is_known.sum()),
            links_changed=int(np.any([*told.values()], axis=0).sum()) if told else 0,
            movies_changed=sum(
                place >= 0 and described[place] != text for place, text in zip(movies.tolist(), now, strict=True)
            ),
            links_kept=num_kept,
        )

    def _link_places(self, graph: RatingGraph) -> Places:
        """[num_links] the place of each link among those of before, -1 if it is new."""
        places, num_movies = self.places(graph), len(self.names["num_movies"])
        user, movie = (
            places[size][row] for size, row in zip(SIZES, graph.data[RATES].edge_index.numpy(), strict=False)
        )
        known_user, known_movie = self.state["links"].long().numpy()
        known, wanted = known_user * num_movies + known_movie, user * num_movies + movie  # the first ascend
        found = np.searchsorted(known, wanted).clip(max=len(known) - 1)
        return np.where((user >= 0) & (movie >= 0) & (known[found] == wanted), found, -1)


@dataclass(frozen=True)
class _Order:
    """Rows in another order.

    Attributes:
        order: [num] the row that comes at each place.
        place: [num] the place of each row.
        num_known: how many are known; they come first.
    """

    order: Places
    place: Places
    num_known: int


def _known_first(before: NDArray[Any], now: NDArray[Any]) -> _Order:
    index = _index(before, now)
    is_known = index >= 0
    known = np.flatnonzero(is_known)
    order = np.concatenate([known[index[known].argsort()], np.flatnonzero(~is_known)])
    return _Order(order, order.argsort(), len(known))


def _index(before: Sequence[Any] | NDArray[Any], now: Sequence[Any] | NDArray[Any]) -> Places:
    """The place among ``before`` of each of ``now``, -1 where it was not. Numbers and texts are the same if printed."""
    then, rows = pd.Index(before), pd.Index(now)
    if then.dtype != rows.dtype:
        then, rows = then.astype(str), rows.astype(str)
    found: Places = then.get_indexer(rows).astype(np.int64)
    return found
