"""An earlier model on later data: how it would have ranked what it could not know."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType

from lightning_lp.checkpointing.finding import load_encoder
from lightning_lp.data.previous import Places
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.recommend.histories import known_graph

_LAST = -1e4
"""Added to the logit of a movie that is not known: it stands behind all others."""


class EarlierModel:
    """The model of a checkpoint, which embeds the users and movies of a graph that has others as well.

    It reads the links of now, as far as their movies are known to it. A user it does not know is a new one to it; a
    movie it does not know comes last.

    Args:
        path: the checkpoint.
        places: the place that each row of ``num_users`` and ``num_movies`` of the graph has in the checkpoint, -1 if it
            is new, as :meth:`Previous.places` gives them.
    """

    def __init__(self, path: Path, places: Mapping[str, Places]) -> None:
        self._encoder, state = load_encoder(path)
        self._nodes = known_graph(state)
        self._user, self._movie = (torch.from_numpy(places[f"num_{kind}s"]) for kind in (USER, MOVIE))
        self._translated: tuple[HeteroData, HeteroData] | None = None

    @torch.no_grad()
    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """As of :class:`~lightning_lp.evaluation.scoring.EmbedsAll`: vectors of the users and movies of the graph."""
        z_user, z_movie = self._encoder.embed_all(self._in_its_words(graph))
        return self._with_last(z_user), self._of_all(z_movie)

    @torch.no_grad()
    def embed_new(
        self, graph: HeteroData, edge_index: Tensor, num_users: int, edge_attrs: Mapping[str, Tensor]
    ) -> Tensor:
        """As of :class:`~lightning_lp.model.rolling.EmbedsNew`: vectors of users by their links."""
        movie, is_known = self._movie[edge_index[0]], self._movie[edge_index[0]] >= 0
        links = torch.stack([movie, edge_index[1]])[:, is_known]
        read = (*self._encoder.edge_attrs, *self._encoder.optional_edge_attrs)
        attrs = {name: value[is_known] for name, value in edge_attrs.items() if name in read}
        options = {"edge_attrs": attrs} if attrs else {}
        return self._with_last(self._encoder.embed_new(self._in_its_words(graph), links, num_users, **options))

    def _in_its_words(self, graph: HeteroData) -> HeteroData:
        """The graph with the users of now and the movies that the model knows, by its own numbers."""
        if self._translated is None or self._translated[0] is not graph:
            found = HeteroData()
            found[USER].node_id = self._user
            for key, value in self._nodes[MOVIE].items():
                found[MOVIE][key] = value
            self._add_messages(found, graph, RATES, movie_end=1)
            self._add_messages(found, graph, REV_RATES, movie_end=0)
            self._translated = graph, found
        return self._translated[1]

    def _add_messages(self, found: HeteroData, graph: HeteroData, edge_type: EdgeType, movie_end: int) -> None:
        store = graph[edge_type]
        movie = self._movie[store.edge_index[movie_end]]
        edge_index, is_known = store.edge_index.clone(), movie >= 0
        edge_index[movie_end] = movie
        found[edge_type].edge_index = edge_index[:, is_known]
        for name in ("time", "rating"):
            if name in store:
                found[edge_type][name] = store[name][is_known]

    def _with_last(self, z_user: Tensor) -> Tensor:
        return F.pad(z_user, (0, 1), value=1.0)

    def _of_all(self, z_movie: Tensor) -> Tensor:
        is_known = self._movie >= 0
        found = z_movie.new_zeros(len(self._movie), z_movie.size(1) + 1)
        found[is_known, :-1] = z_movie[self._movie[is_known]]
        found[~is_known, -1] = _LAST
        return found
