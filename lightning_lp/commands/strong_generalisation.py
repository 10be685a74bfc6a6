"""The protocol of published figures for users that training never saw: how they are divided, and what is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.metrics import LinkPredNDCG
from torch_geometric.metrics.link_pred import LinkPredMetricData

from lightning_lp.commands.hidden_users import HiddenUsers, given_back, known_of, score_hidden, task_of
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import MOVIE, USER
from lightning_lp.data.tables import Tables
from lightning_lp.errors import UserError, require
from lightning_lp.evaluation.baselines import BASELINES, Baseline, Candidate, feature_matrix
from lightning_lp.evaluation.comparison import Part
from lightning_lp.evaluation.queries import make_links
from lightning_lp.evaluation.ranking import ScoreQueries, list_queries, without_time
from lightning_lp.evaluation.ranking_task import RankingTask
from lightning_lp.evaluation.scoring import scorer_of_baseline
from lightning_lp.model.module import LinkPredictionModule

TARGET = "ndcg@100"
"""What the settings of the baselines are chosen by, on the validation users."""
METRICS = ("recall@20", "recall@50", TARGET)
BESIDE = ("EASE + features", "EASE", "ItemKNN", "popularity")
"""Baselines that can recommend to new users."""
_MIN_LINKS = 5
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Division:
    """Users divided by the protocol of Liang, Krishnan, Hoffman and Jebara, WWW 2018; see :func:`divide`.

    Attributes:
        tables: what is trained on: the links of the other users, and the movies that have one.
        hidden: the hidden users of ``validation`` and of ``test``. Movies are indices of ``tables.movies``.
        num_users: how many users have enough links, hidden or not.
    """

    tables: Tables
    hidden: Mapping[Part, HiddenUsers]
    num_users: int


def divide(tables: Tables, share: float = 0.1, seed: int = 0, min_rating: float | None = 4.0) -> Division:
    """Hides users from training as section 4.1 of "Variational autoencoders for collaborative filtering" does.

    1. Lower ratings than ``min_rating`` are left out, and then users with fewer than five links.
    2. ``share`` of the users are hidden for validation, as many for test, at random; all links of the others train.
    3. Movies without a training link are left out.
    4. Of a hidden user's links a random fifth, rounded down, is held out, and the rest is given back. Users that are
       left with fewer than five have nothing held out: they are left out.

    Args:
        tables: all movies and ratings.
        share: of the users, more than 0 and less than a half.
        seed: seed of the choice of users and links.
        min_rating: the least rating that is a link; None: all are.

    Raises:
        UserError: ``share`` is out of bounds, ``min_rating`` needs ratings that there are not, or no user is left.
    """
    if not 0 < share < 0.5:
        raise UserError(f"--share {share}: more than 0 and less than 0.5 wanted, as it is hidden twice")
    rng, links = np.random.default_rng(seed), _links(tables, min_rating)
    users = rng.permutation(links[USER].unique())
    size = max(1, round(share * len(users)))
    is_train = ~links[USER].isin(users[: 2 * size])
    catalogue = np.unique(links.loc[is_train, MOVIE])
    links = links.assign(**{MOVIE: np.searchsorted(catalogue, links[MOVIE])})[links[MOVIE].isin(catalogue)]
    parts: dict[Part, NDArray[np.int64]] = {"validation": users[:size], "test": users[size : 2 * size]}
    hidden = {part: _hidden(tables, links, np.sort(chosen), rng) for part, chosen in parts.items()}
    if not all(len(part.ids) for part in hidden.values()):
        raise UserError(
            f"{len(users)} users have {_MIN_LINKS} links or more: too few to hide {size} for validation, as many for "
            "test, and to train on the others: give more data, or a lower --min-rating"
        )
    movies = tables.movies.iloc[catalogue].reset_index(drop=True)
    seen = replace(tables, movies=movies, coded=links[~links[USER].isin(users[: 2 * size])])
    return Division(seen, hidden, len(users))


def judge(
    division: Division, data: MovieLensDataModule, module: LinkPredictionModule, part: Part
) -> dict[str, dict[str, float]]:
    """Ranks the catalogue for each hidden user of a part, by the model and by the baselines of ``BESIDE``.

    Args:
        division: the users.
        data: the data of ``division.tables``, which the model was trained on.
        module: the trained model.
        part: whose users; the settings of baselines are chosen on those of ``validation`` in any case.

    Returns:
        By model (``lightning_lp`` and those of ``BESIDE``) the metrics of :func:`measured`.
    """
    model = without_time(score_hidden(division.hidden[part], data, module))
    found = {"lightning_lp": measured(task_of(division.hidden[part], data), model)}
    return found | {name: judge_baseline(BASELINES[name], division, data, part) for name in BESIDE}


def measured(task: RankingTask, score_queries: ScoreQueries) -> dict[str, float]:
    """The metrics of section 4.2, means over users with the set of held-out movies H.

    ``recall@k`` is hits / min(k, |H|), where elsewhere in this package it is hits / |H|; ``ndcg@100`` is as elsewhere.
    """
    _, lists = list_queries(task, score_queries, max(map(_length, METRICS)))
    values = {name: _values(name, LinkPredMetricData(lists[:, : _length(name)], task.held_out)) for name in METRICS}
    return {name: float(each.mean()) for name, each in values.items()}


def _values(name: str, data: LinkPredMetricData) -> Tensor:
    """[num_users] float64."""
    if name.startswith("ndcg"):
        values: Tensor = LinkPredNDCG(_length(name))._compute(data)
    else:
        values = data.pred_rel_mat.sum(dim=1).double() / data.label_count.clamp(max=_length(name))
    return values.double()


def _length(metric: str) -> int:
    return int(metric.partition("@")[2])


def _links(tables: Tables, min_rating: float | None) -> pd.DataFrame:
    """Rows of ``tables.coded`` that are links, of users with enough of them."""
    links = tables.coded
    if min_rating is not None:
        require(not links["rating"].isna().all(), "--min-rating", min_rating, "a file with ratings, or null")
        links = links[links["rating"] >= min_rating]
    count = links[USER].value_counts()
    return links[links[USER].isin(count.index[count >= _MIN_LINKS])]


def _hidden(tables: Tables, links: pd.DataFrame, chosen: NDArray[np.int64], rng: np.random.Generator) -> HiddenUsers:
    """The chosen users, with what is given back; ``links`` are sorted by user."""
    user, movie = links[USER].to_numpy(), links[MOVIE].to_numpy().astype(np.int64)
    first, end = (np.searchsorted(user, chosen, side) for side in ("left", "right"))
    is_asked = end - first >= _MIN_LINKS
    places = [rng.permutation(np.arange(*ends)) for ends in zip(first[is_asked], end[is_asked], strict=True)]
    cuts = [len(rated) - int(_HELD_OUT * len(rated)) for rated in places]
    known = {name: links[name].to_numpy() for name in ("time", "rating") if name in links and links[name].notna().all()}
    return given_back(tables.users.ids[chosen[is_asked]], places, cuts, movie, known)


def judge_baseline(candidate: Candidate, division: Division, data: MovieLensDataModule, part: Part) -> dict[str, float]:
    """The metrics of a baseline on the users of a part, at the setting of its grid that validation chooses."""
    links, features = make_links(data.split.train_links, data.num_users, data.num_movies), feature_matrix(data.graph)
    asked: set[Part] = {"validation", part}
    best: dict[Part, dict[str, float]] = {}
    for change in candidate.grid:
        baseline = replace(candidate.baseline, **change)  # type: ignore[type-var]
        baseline.fit(links, features, seed=0)
        found = {each: _measured_of(baseline, division.hidden[each], data) for each in asked}
        if not best or found["validation"][TARGET] > best["validation"][TARGET]:
            best = found
    return best[part]


def _measured_of(baseline: Baseline, hidden: HiddenUsers, data: MovieLensDataModule) -> dict[str, float]:
    return measured(task_of(hidden, data), scorer_of_baseline(baseline, known_of(hidden, data)))
