"""Data that have grown since a run: what is known keeps its place, and what was trained on is not held out."""

import copy
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.previous import Changes, Previous
from lightning_lp.data.schema import RATES
from lightning_lp.data.state import DATA_STATE
from lightning_lp.errors import UserError

SPLIT = {"num_val": 0.2, "num_test": 0.2, "neg_sampling_ratio": 0.2}


def write(folder: Path, ratings: pd.DataFrame, movies: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    ratings.to_csv(folder / "ratings.csv", index=False)
    movies.to_csv(folder / "movies.csv", index=False)
    return folder


def read(folder: Path, previous: Path | None = None, strategy: str = "random", **options: Any) -> MovieLensDataModule:
    split = {**SPLIT, "strategy": strategy, "non_links": "any"}
    path = None if previous is None else str(previous)
    data = MovieLensDataModule(str(folder), split=split, previous=path, **options)
    data.setup()
    return data


def saved(data: MovieLensDataModule, path: Path) -> Path:
    """What a checkpoint has of the data, without a model."""
    torch.save({DATA_STATE: data.state_dict()}, path)
    return path


def parts(data: MovieLensDataModule) -> dict[tuple[Any, Any], int]:
    """The part of each link, by ids."""
    user, movie = data.graph.data[RATES].edge_index
    keys = zip(data.graph.users.ids[user].tolist(), data.graph.movies.ids[movie].tolist(), strict=True)
    return dict(zip(keys, data.state_dict()["part"].tolist(), strict=True))


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, np.random.Generator]:
    """Ratings and movies whose ids are in no order, and some text."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    num_users, num_movies = draw(st.integers(6, 12)), draw(st.integers(10, 16))
    pairs = np.argwhere(rng.random((num_users, num_movies)) < 0.6)
    user_ids, movie_ids = rng.permutation(50)[:num_users], rng.permutation(50)[:num_movies]
    if draw(st.booleans()):
        movie_ids = np.array([f"m{i}" for i in movie_ids])
    ratings = pd.DataFrame(
        {
            "userId": user_ids[pairs[:, 0]],
            "movieId": movie_ids[pairs[:, 1]],
            "rating": 3.5,
            "timestamp": rng.integers(1, 60, len(pairs)),
        }
    )
    movies = pd.DataFrame({"movieId": movie_ids, "title": "A", "genres": rng.choice(["X", "Y|X", "Z"], num_movies)})
    return ratings, movies, rng


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(tables(), st.sampled_from(["random", "temporal", "leave_last_out"]), st.sampled_from([0.0, 0.1, 0.4]))
def test_laws_of_data_that_grow(tmp_path, made, strategy, share):
    ratings, movies, rng = made
    is_gone, is_new = (rng.random(len(ratings)) < share for _ in range(2))
    has_left = rng.random(len(movies)) < share / 2
    try:
        before = read(write(tmp_path / "before", ratings[~is_new], movies), strategy=strategy)
    except UserError:
        return  # too small, or too dense
    checkpoint = saved(before, tmp_path / "before.ckpt")
    now_movies = movies[~has_left]
    now_ratings = ratings[~is_gone & ratings.movieId.isin(now_movies.movieId)]
    try:
        now = read(write(tmp_path / "now", now_ratings, now_movies), checkpoint, strategy)
    except UserError:
        return
    # Known ids come first, in the order that they had, and new ones after them in their own.
    for kind in ("users", "movies"):
        then, here = (getattr(data.graph, kind).ids.tolist() for data in (before, now))
        known = [value for value in then if value in here]
        assert here == known + sorted(set(here) - set(then))
    assert [*zip(now.graph.movies.ids.tolist(), now.graph.genres, strict=True)] == [
        (row.movieId, row.genres)
        for row in now_movies.set_index("movieId").loc[now.graph.movies.ids].reset_index().itertuples()
    ]
    links = now.graph.data[RATES].edge_index.T.tolist()
    assert links == sorted(links)
    # No leakage.
    old, new = parts(before), parts(now)
    assert set(new) == set(zip(now_ratings.userId, now_ratings.movieId, strict=True))
    assert all(new[link] == 0 for link in new if old.get(link) == 0)
    if strategy == "random":
        assert all(new[link] == old[link] for link in new if link in old)
    # What is said.
    changes = now.changes
    assert changes == Changes(
        links=len(set(new) - set(old)),
        users=len({user for user, _ in new} - {user for user, _ in old}),
        movies=0,
        links_gone=len(set(old) - set(new)),
        users_gone=len({user for user, _ in old} - {user for user, _ in new}),
        movies_gone=int(has_left.sum()),
        links_kept=now.split.num_kept,
    )
    # A checkpoint of the update tells the same as that of the run before, and a second update builds on it.
    again = read(tmp_path / "now", saved(now, tmp_path / "now.ckpt"), strategy)
    again.load_state_dict(now.state_dict())
    assert again.split.fingerprint == now.split.fingerprint
    assert not again.changes
    assert (again.graph.users, again.graph.movies) == (now.graph.users, now.graph.movies)


@pytest.fixture(scope="module")
def small(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_csv(root / "ratings.csv"), pd.read_csv(root / "movies.csv")


@pytest.fixture
def before(root: Path, tmp_path: Path) -> Path:
    return saved(read(root), tmp_path / "before.ckpt")


def changed(folder: Path, before: Path, ratings: pd.DataFrame, movies: pd.DataFrame) -> dict[str, int]:
    """What has changed, without zeros."""
    found = read(write(folder, ratings, movies), before).changes
    return {name: value for name, value in asdict(found).items() if value}


def test_new_movies_and_other_titles_are_counted(small, before, tmp_path):
    ratings, movies = small
    movies = pd.concat([movies, pd.DataFrame({"movieId": [10**6], "title": "New (2020)", "genres": "Drama"})])
    movies.loc[movies.index[3], "title"] = "Another"
    assert changed(tmp_path / "now", before, ratings, movies) == {"movies": 1, "movies_changed": 1}


def test_ids_that_become_text_are_known_by_what_is_printed(small, before, tmp_path):
    ratings, movies = small
    more = pd.DataFrame({"userId": ["new"], "movieId": movies.movieId[:1], "rating": 4.0, "timestamp": 1})
    assert changed(tmp_path / "now", before, pd.concat([ratings, more]), movies) == {"links": 1, "users": 1}


def test_values_that_a_model_reads_are_compared(root, small, tmp_path):
    ratings, movies = small
    data = read(root)
    state = data.state_dict() | {"edge_attrs": {name: data.graph.data[RATES][name] for name in ("time", "rating")}}
    torch.save({DATA_STATE: state}, tmp_path / "before.ckpt")
    ratings.loc[:4, "rating"] = 0.125
    assert changed(tmp_path / "now", tmp_path / "before.ckpt", ratings, movies) == {"links_changed": 5}


def test_other_data_are_refused(small, before, tmp_path):
    ratings, movies = small
    other = ratings.assign(movieId=ratings.movieId + 10**6), movies.assign(movieId=movies.movieId + 10**6)
    with pytest.raises(UserError, match=r"none of the movies in now is known to .*before.ckpt: that is other data"):
        changed(tmp_path / "now", before, *other)
    with pytest.raises(UserError, match="none of the users"):
        changed(tmp_path / "now", before, ratings.assign(userId=ratings.userId + 10**6), movies)


def test_a_checkpoint_that_tells_no_parts_is_refused(root, before, tmp_path):
    state = torch.load(before)[DATA_STATE]
    del state["part"]
    torch.save({DATA_STATE: state}, tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=r"old.ckpt does not tell which links it was trained on"):
        read(root, tmp_path / "old.ckpt")


def test_no_run_is_updated_by_default(root):
    with pytest.raises(ValueError, match="no run is updated"):
        _ = read(root).changes


def test_copies_share_the_file_and_other_processes_read_it_themselves(before):
    previous = Previous(before)
    assert copy.deepcopy(previous) is previous
    assert pickle.loads(pickle.dumps(previous)).state["titles"] == previous.state["titles"]
