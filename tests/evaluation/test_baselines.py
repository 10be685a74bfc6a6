from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_geometric
from scipy.sparse import csr_matrix
from torch_geometric.transforms import RandomLinkSplit

from lightning_lp.data.rating_graph import build_graph
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER, Columns
from lightning_lp.data.tables import read_tables
from lightning_lp.evaluation.baselines import (
    BASELINES,
    IALS,
    DegreeSum,
    ItemKNN,
    Popularity,
    feature_matrix,
    link_matrix,
)
from lightning_lp.evaluation.comparison import label_auroc
from lightning_lp.evaluation.linear import EASE
from lightning_lp.evaluation.pairwise import BPR
from lightning_lp.evaluation.ranking import rank_users, ranking_task, top_k
from tests.graphs import random_links

# User u likes the movies of its own parity; the movie of its own number is withheld.
LIKED = torch.tensor([(user, movie) for user in range(20) for movie in range(20) if (user - movie) % 2 == 0])
PARITY = link_matrix(LIKED[LIKED[:, 0] != LIKED[:, 1]].t(), 20, 20)
EVERYBODY = torch.arange(20)
SEEN = torch.from_numpy(np.stack(PARITY.nonzero()).astype(np.int64))
NO_FEATURES = csr_matrix((0, 20), dtype=np.float32)
FAST = {"BPR-MF": {"epochs": 2}, "LightGCN": {"epochs": 2}}


@pytest.mark.parametrize(
    "baseline",
    [EASE(l2=1.0), ItemKNN(), IALS(factors=4, regularization=0.1), BPR(channels=8), BPR(1, channels=8)],
    ids=repr,
)
def test_the_withheld_movie_comes_first(baseline):
    baseline.fit(PARITY, NO_FEATURES, 0)
    assert top_k(baseline.score(EVERYBODY, PARITY), SEEN, 1).flatten().tolist() == EVERYBODY.tolist()


@pytest.mark.parametrize("name", BASELINES)
def test_all_share_one_interface(name):
    links = random_links(15, 25, 120, seed=0)
    train, history = link_matrix(links[:, ::2], 15, 25), link_matrix(links, 15, 25)
    features, scores = link_matrix(random_links(6, 25, 40, seed=1), 6, 25), []
    for _ in range(2):
        baseline = replace(BASELINES[name].baseline, **FAST.get(name, {}))
        state = torch.get_rng_state()
        baseline.fit(train, features, 3)
        assert torch.equal(torch.get_rng_state(), state)
        scores.append(baseline.score(torch.tensor([4, 0, 14]), history))
    assert scores[0].shape == (3, 25)
    assert scores[0].dtype == torch.float32
    assert torch.equal(*scores)
    assert torch.allclose(baseline.score(torch.tensor([14]), history), scores[0][2:], atol=1e-6)
    assert baseline.memory(15, 25, 60, 6) > 0
    for change in BASELINES[name].grid:
        replace(baseline, **change)


def test_counts():
    links = torch.tensor([[0, 0, 1], [0, 2, 2]])
    matrix = link_matrix(links, 2, 4)
    popularity, degrees = Popularity(), DegreeSum()
    popularity.fit(matrix, NO_FEATURES, 0)
    degrees.fit(matrix, NO_FEATURES, 0)
    assert popularity.score(torch.tensor([1, 0]), matrix).tolist() == [[1, 0, 2, 0]] * 2
    assert degrees.score(torch.tensor([0]), matrix)[0].exp().tolist() == pytest.approx([6, 3, 9, 3])


def test_features_are_genres_and_then_terms(tmp_path):
    (tmp_path / "movies.csv").write_text(
        "movieId,title,genres\n1,Toy Story (1995),A|C\n2,Toy Story 2 (1999),C\n3,Heat,\n"
    )
    (tmp_path / "ratings.csv").write_text("userId,movieId\n7,1\n7,2\n7,3\n")
    tables = read_tables(tmp_path, Columns())
    graph = build_graph(tables)
    assert (graph.genre_vocabulary, graph.title_vocabulary) == (["A", "C"], ["1995-1999", "story", "toy"])
    expected = [[1, 0, 0], [1, 1, 0], *[[1, 1, 0]] * 3]
    assert feature_matrix(graph).toarray().tolist() == expected
    assert feature_matrix(build_graph(tables, use_terms=False)).toarray().tolist() == expected[:2]


def test_item_knn_sums_the_similarities_of_the_nearest_rated_movies():
    matrix = link_matrix(random_links(30, 12, 150, seed=1), 30, 12)
    dense = matrix.toarray()
    norm = np.linalg.norm(dense, axis=0)
    similarity = dense.T @ dense / np.outer(norm, norm)
    np.fill_diagonal(similarity, 0)
    baseline = ItemKNN(num_neighbors=3)
    baseline.fit(matrix, NO_FEATURES, 0)
    weight = baseline.score(torch.arange(12), csr_matrix(np.eye(12, dtype=np.float32))).numpy()
    assert np.allclose(weight[weight > 0], similarity[weight > 0])
    assert np.allclose(np.sort(weight, axis=0)[-3:], np.sort(similarity, axis=0)[-3:])  # the nearest, for each movie
    assert (weight > 0).sum(axis=0).tolist() == [3] * 12
    assert np.allclose(baseline.score(torch.arange(30), matrix), dense @ weight, atol=1e-5)


@pytest.mark.slow
def test_reference_figures(movielens):
    """The table of DESIGN section 3: the split of PyG, seed 0, validation."""
    graph = build_graph(read_tables(movielens, Columns()))
    data = graph.data
    del data[RATES].time  # the links are in the order of ratings.csv, the movies in that of movies.csv
    torch_geometric.seed_everything(0)
    split = RandomLinkSplit(
        num_val=0.1,
        num_test=0.1,
        disjoint_train_ratio=0.3,
        neg_sampling_ratio=2.0,
        add_negative_train_samples=False,
        edge_types=RATES,
        rev_edge_types=REV_RATES,
    )
    _, val, _ = split(data)
    train = link_matrix(val[RATES].edge_index, data[USER].num_nodes, data[MOVIE].num_nodes)
    for name, expected in {
        "degree sum": (0.930, 0.131, 0.118),
        "popularity": (0.843, 0.131, 0.118),
        "ItemKNN": (0.889, 0.231, 0.212),
        "iALS": (0.936, 0.247, 0.227),
        "EASE": (0.928, 0.262, 0.242),
    }.items():
        baseline = BASELINES[name].baseline
        baseline.fit(train, feature_matrix(graph), 0)
        found = rank_users(ranking_task(val), lambda users, fitted=baseline: fitted.score(users, train)).means()
        auroc = label_auroc(val, lambda users, fitted=baseline: fitted.score(users, train))
        assert (auroc, found["recall@20"], found["ndcg@20"]) == pytest.approx(expected, abs=0.01), name
    assert found["recall@20"] == pytest.approx(0.262, abs=0.005)
