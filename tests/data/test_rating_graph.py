from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_lp.data.rating_graph import build_graph, genre_names, multi_hot
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.data.tables import read_tables
from lightning_lp.errors import UserError
from tests.graphs import pairs, split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_movielens(tmp_path / "data", num_users=30, num_movies=50, num_ratings=600, seed=1)
    return tmp_path / "data"


def test_nodes_links_and_features_follow_the_files(root):
    movies, ratings = pd.read_csv(root / "movies.csv"), pd.read_csv(root / "ratings.csv")
    graph = build_graph(read_tables(root))
    assert graph.movies.ids.tolist() == sorted(movies.movieId)
    assert graph.users.ids.tolist() == sorted(ratings.userId.unique())
    links = {(graph.users.ids[u], graph.movies.ids[m]) for u, m in pairs(graph.data[RATES].edge_index)}
    assert links == set(zip(ratings.userId, ratings.movieId, strict=True))
    assert pairs(graph.data[REV_RATES].edge_index.flip(0)) == pairs(graph.data[RATES].edge_index)
    times = dict(zip(zip(ratings.userId, ratings.movieId, strict=True), ratings.timestamp, strict=True))
    for (u, m), time in zip(graph.data[RATES].edge_index.t().tolist(), graph.data[RATES].time.tolist(), strict=True):
        assert times[graph.users.ids[u], graph.movies.ids[m]] == time
    by_id = movies.set_index("movieId")
    for index, movie_id in enumerate(graph.movies.ids):
        assert graph.titles[index] == by_id.title[movie_id]
        has = {graph.genre_vocabulary[column] for column in graph.data[MOVIE].x[index].nonzero().flatten()}
        assert has == set(by_id.genres[movie_id].split("|"))
    assert graph.genre_vocabulary == sorted(graph.genre_vocabulary)


@pytest.mark.parametrize("file", ["movies.csv", "ratings.csv"])
@pytest.mark.parametrize("how", ["shuffled", "reversed"])
def test_the_order_of_rows_changes_neither_pairing_nor_split(root, file, how):
    expected = build_graph(read_tables(root))
    table = pd.read_csv(root / file)
    table = table.sample(frac=1, random_state=0) if how == "shuffled" else table[::-1]
    table.to_csv(root / file, index=False)
    graph = build_graph(read_tables(root))
    assert graph.fingerprint == expected.fingerprint
    assert graph.titles == expected.titles
    assert (graph.data[MOVIE].x == expected.data[MOVIE].x).all()
    assert split(graph.data).fingerprint == split(expected.data).fingerprint


def test_low_ratings_are_seen_but_no_links(root):
    ratings = pd.read_csv(root / "ratings.csv")
    graph = build_graph(read_tables(root), min_rating=4.0)
    assert graph.data[RATES].num_edges == (ratings.rating >= 4).sum()
    assert graph.data[USER].num_nodes == ratings[ratings.rating >= 4].userId.nunique()
    below = {(graph.users.ids[u], graph.movies.ids[m]) for u, m in pairs(graph.below_min_rating)}
    low = ratings[(ratings.rating < 4) & ratings.userId.isin(graph.users.ids)]
    assert below == set(zip(low.userId, low.movieId, strict=True))
    with pytest.raises(UserError, match="leaves none of 600 ratings"):
        build_graph(read_tables(root), min_rating=5.5)


def test_a_minimum_needs_ratings(root):
    pd.read_csv(root / "ratings.csv").drop(columns="rating").to_csv(root / "ratings.csv", index=False)
    graph = build_graph(read_tables(root))
    assert graph.data[RATES].num_edges == 600
    with pytest.raises(UserError, match="no rating column"):
        build_graph(read_tables(root), min_rating=3.0)


def test_movies_without_genres(root):
    pd.read_csv(root / "movies.csv").drop(columns="genres").to_csv(root / "movies.csv", index=False)
    graph = build_graph(read_tables(root))
    assert graph.data[MOVIE].x.shape == (50, 0)
    assert graph.genre_vocabulary == []


def test_text_ids(root):
    for file, columns in {"movies.csv": ["movieId"], "ratings.csv": ["movieId", "userId"]}.items():
        table = pd.read_csv(root / file)
        for column in columns:
            table[column] = "x" + table[column].astype(str)
        table.to_csv(root / file, index=False)
    graph = build_graph(read_tables(root))
    assert graph.data[RATES].num_edges == 600
    assert all(isinstance(value, str) for value in graph.users.ids)
    assert np.array_equal(graph.movies.ids, sorted(graph.movies.ids))


@pytest.mark.parametrize(("old", "new"), [("vocabulary", "genre_vocabulary"), ("terms", "title_vocabulary")])
def test_old_names_are_known_for_one_release(root, old, new):
    graph = build_graph(read_tables(root))
    with pytest.warns(DeprecationWarning, match=f"RatingGraph.{old} is {new} now"):
        assert getattr(graph, old) is getattr(graph, new)


def test_genres_are_columns_as_pandas_makes_them():
    texts = ["Drama|War", "", "Zoo|action|Ähre", "War|Drama|War", "Drama"]
    expected = pd.Series(texts).str.get_dummies("|")
    expected = expected.drop(columns="", errors="ignore")  # pandas makes one of blanks
    names, x = multi_hot([genre_names(text) for text in texts])
    assert (names, x.tolist()) == (list(expected), expected.to_numpy().tolist())
    for blank in ([], [""]):
        names, x = multi_hot([genre_names(text) for text in blank])
        assert (names, tuple(x.shape)) == ([], (len(blank), 0))


def test_genre_names():
    assert genre_names("Action| Comedy ||") == ["Action", "Comedy"]
    assert genre_names("  ") == []
