"""How well users that the model never saw are served: some are hidden from training, then given back in part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.rating_graph import RatingGraph
from lightning_lp.data.schema import MOVIES_FILE, RATES, RATINGS_FILE, USER, Columns
from lightning_lp.data.tables import Tables
from lightning_lp.errors import UserError
from lightning_lp.evaluation.baselines import BASELINES, feature_matrix
from lightning_lp.evaluation.queries import Links, make_links
from lightning_lp.evaluation.ranking import ScoreUsers, dot_products, rank_users
from lightning_lp.evaluation.ranking_task import RankingTask
from lightning_lp.evaluation.scoring import scorer_of_baseline
from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.recommend.recommender import Recommender

BESIDE = ("EASE + features", "ItemKNN", "popularity")
"""Baselines that can recommend to new users, with their default settings."""
_HISTORY = 0.8
"""Share of a hidden user's ratings that is given back."""


@dataclass(frozen=True)
class HiddenUsers:
    """Users that are kept from training.

    Attributes:
        ids: their ids.
        histories: for each the indices of the movies that are given back, the earliest first where times are known.
        held_out: for each the indices of the other rated movies, which a good list holds.
        told: ``times`` and ``ratings`` of what is given back, where they are known.
    """

    ids: NDArray[np.generic]
    histories: list[NDArray[np.int64]]
    held_out: list[NDArray[np.int64]]
    told: dict[str, list[NDArray[Any]]] = field(default_factory=dict)


def hide_users(graph: RatingGraph, share: float = 0.1, seed: int = 0) -> HiddenUsers:
    """Chooses users at random, and which of their ratings are given back; at least two ratings are needed for that.

    Raises:
        UserError: the share is not between 0 and 1, or leaves no user to hide or none to train on.
    """
    if not 0 < share < 1:
        raise UserError(f"--share {share}: more than 0 and less than 1 wanted")
    rng = np.random.default_rng(seed)
    user, movie = graph.data[RATES].edge_index.numpy()
    known = {name: graph.data[RATES][name].numpy() for name in ("time", "rating") if name in graph.data[RATES]}
    num_links = np.bincount(user, minlength=len(graph.users))
    num_hidden = max(1, round(share * len(graph.users)))
    eligible = rng.permutation(np.flatnonzero(num_links >= 2))[:num_hidden]
    if not 0 < len(eligible) < len(graph.users):
        raise UserError(f"{share} of {len(graph.users)} users leaves none to hide or none to train on: give more data")
    hidden = np.sort(eligible)
    links = [rng.permutation(np.flatnonzero(user == index)) for index in hidden]
    cuts = [max(1, int(_HISTORY * len(rated))) for rated in links]
    return given_back(graph.users.ids[hidden], links, cuts, movie, known)


def given_back(
    ids: NDArray[np.generic],
    links: Sequence[NDArray[np.int64]],
    cuts: Sequence[int],
    movie: NDArray[np.int64],
    known: Mapping[str, NDArray[Any]],
) -> HiddenUsers:
    """Divides the links of each hidden user into its history and what is held out.

    Args:
        ids: ids of the users.
        links: for each user the places of its links, in random order.
        cuts: how many of them are given back, the first ones.
        movie: [num_links] the movie of each link.
        known: ``time`` and ``rating`` of all links, [num_links], as far as they are known.
    """
    given = [rated[:cut] for rated, cut in zip(links, cuts, strict=True)]
    time = known.get("time", movie)
    given = [rated[np.lexsort((movie[rated], time[rated]))] for rated in given]
    return HiddenUsers(
        ids=ids,
        histories=[movie[rated] for rated in given],
        held_out=[np.sort(movie[rated[cut:]]) for rated, cut in zip(links, cuts, strict=True)],
        told={f"{name}s": [values[rated] for rated in given] for name, values in known.items()},
    )


def write_without(tables: Tables, hidden: HiddenUsers, folder: Path) -> None:
    """Writes the tables without the ratings of the hidden users into a new folder, as two CSV files."""
    ratings = tables.ratings
    write(tables.movies, ratings[~ratings[USER].isin(hidden.ids)], folder)


def write(movies: pd.DataFrame, ratings: pd.DataFrame, folder: Path) -> None:
    """Writes movies and ratings into a new folder, as two CSV files with the usual names of columns."""
    names, folder = vars(Columns()), Path(folder)
    folder.mkdir(parents=True)
    movies.rename(columns=names).to_csv(folder / MOVIES_FILE, index=False)
    ratings.dropna(axis="columns", how="all").rename(columns=names).to_csv(folder / RATINGS_FILE, index=False)


def judge_new_users(
    hidden: HiddenUsers, data: MovieLensDataModule, module: LinkPredictionModule
) -> dict[str, dict[str, float]]:
    """Ranks the catalogue for each hidden user, by the model and by the baselines of ``BESIDE``.

    All know the same: the training links of the other users, each hidden user's history, genres and titles.

    Args:
        hidden: the users.
        data: the data without them, which the model was trained on.
        module: the trained model.

    Returns:
        By model (``lightning_lp`` and those of ``BESIDE``) the metrics of ``ranking.py``.
    """
    scorers: dict[str, ScoreUsers] = {"lightning_lp": score_hidden(hidden, data, module)}
    links, features = make_links(data.split.train_links, data.num_users, data.num_movies), feature_matrix(data.graph)
    for name in BESIDE:
        baseline = replace(BASELINES[name].baseline)  # type: ignore[type-var]
        baseline.fit(links, features, seed=0)
        scorers[name] = scorer_of_baseline(baseline, known_of(hidden, data))

    task = task_of(hidden, data)
    return {name: rank_users(task, score_users).means() for name, score_users in scorers.items()}


def score_hidden(hidden: HiddenUsers, data: MovieLensDataModule, module: LinkPredictionModule) -> ScoreUsers:
    """The model's scores of hidden users, by their place in ``hidden``, as new users with their histories.

    Args:
        hidden: the users; movies are indices of ``data``.
        data: the data without them, which the model was trained on.
        module: the trained model.
    """
    history = data.split.val[RATES]  # all training links
    state = data.state_dict() | {"links": data.split.train_links.int()}
    attrs = {name: history[name] for name in state.get("edge_attrs", {})}
    recommender = Recommender(module, state | {"edge_attrs": attrs})
    z_user = torch.from_numpy(recommender.embed_new(hidden.histories, **hidden.told))
    return dot_products(z_user, torch.from_numpy(recommender.movie_embeddings))


def known_of(hidden: HiddenUsers, data: MovieLensDataModule) -> Links:
    """What is given back, as links of users by their place in ``hidden``."""
    return make_links(_pairs(hidden.histories), len(hidden.ids), data.num_movies)


def task_of(hidden: HiddenUsers, data: MovieLensDataModule) -> RankingTask:
    """The task to rank for the hidden users, by their place in ``hidden``, what was not given back."""
    num_raters = torch.bincount(data.split.train_links[1], minlength=data.num_movies)
    return RankingTask(
        users=torch.arange(len(hidden.ids)),
        seen=_pairs(hidden.histories),
        held_out=_pairs(hidden.held_out),
        self_information=-(num_raters.clamp(min=1) / data.num_users).log2(),
    )


def _pairs(movies: list[NDArray[np.int64]]) -> Tensor:
    """[2, n] int64 (position, movie)."""
    position = np.repeat(np.arange(len(movies)), [len(of_user) for of_user in movies])
    return torch.from_numpy(np.stack([position, np.concatenate(movies)]))
