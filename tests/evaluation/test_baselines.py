from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_geometric
from scipy.sparse import csr_matrix
from torch_geometric.transforms import RandomLinkSplit

from lightning_lp.data.rating_graph import build_graph
from lightning_lp.data.schema import RATES, REV_RATES, Columns
from lightning_lp.data.tables import read_tables
from lightning_lp.evaluation.baselines import BASELINES, BY_TIME, candidates, feature_matrix
from lightning_lp.evaluation.collaborative import IALS, ItemKNN
from lightning_lp.evaluation.comparison import label_auroc
from lightning_lp.evaluation.counting import DegreeSum, Popularity
from lightning_lp.evaluation.linear import EASE
from lightning_lp.evaluation.pairwise import BPR
from lightning_lp.evaluation.queries import known_links, make_links
from lightning_lp.evaluation.ranking import rank_queries, top_k
from lightning_lp.evaluation.ranking_task import ranking_task
from lightning_lp.evaluation.scoring import scorer_of_baseline
from tests.graphs import random_links

# User u likes the movies of its own parity; the movie of its own number is withheld.
LIKED = torch.tensor([(user, movie) for user in range(20) for movie in range(20) if (user - movie) % 2 == 0])
SEEN = LIKED[LIKED[:, 0] != LIKED[:, 1]].t()
PARITY = make_links(SEEN, 20, 20)
EVERYBODY = torch.arange(20)
NO_FEATURES = csr_matrix((0, 20), dtype=np.float32)
FAST = {"BPR-MF": {"epochs": 2}, "LightGCN": {"epochs": 2}, "SASRec": {"epochs": 2, "hidden_channels": 8}}


@pytest.mark.parametrize(
    "baseline",
    [
        EASE(l2=1.0),
        EASE(l2=1.0, dropout=0.3),
        ItemKNN(),
        IALS(factors=4, regularization=0.1),
        BPR(channels=8),
        BPR(1, channels=8),
    ],
    ids=repr,
)
def test_the_withheld_movie_comes_first(baseline):
    baseline.fit(PARITY, NO_FEATURES, 0)
    assert top_k(baseline.score(PARITY.queries(EVERYBODY)), SEEN, 1).flatten().tolist() == EVERYBODY.tolist()


@pytest.mark.parametrize("name", {**BASELINES, **BY_TIME})
@pytest.mark.parametrize("has_times", [True, False])
def test_all_share_one_interface(name, has_times):
    links = random_links(15, 25, 120, seed=0)
    time = torch.arange(120) % 17 if has_times else None
    train = make_links(links[:, ::2], 15, 25, time[::2] if has_times else None)
    known = make_links(links, 15, 25, time)
    features, scores = make_links(random_links(6, 25, 40, seed=1), 6, 25).matrix, []
    candidate = candidates(is_by_time=True)[name]
    for _ in range(2):
        baseline = replace(candidate.baseline, **FAST.get(name, {}))
        state = torch.get_rng_state()
        baseline.fit(train, features, 3)
        assert torch.equal(torch.get_rng_state(), state)
        scores.append(baseline.score(known.queries(torch.tensor([4, 0, 14]))))
    assert scores[0].shape == (3, 25)
    assert scores[0].dtype == torch.float32
    assert torch.equal(*scores)
    assert torch.allclose(baseline.score(known.queries(torch.tensor([14]))), scores[0][2:], atol=1e-6)
    assert baseline.memory(15, 25, 60, 6) > 0
    for change in candidate.grid:
        replace(baseline, **change)


@pytest.mark.parametrize("name", {**BASELINES, **BY_TIME})
def test_all_take_users_without_history(name):
    links = make_links(random_links(15, 25, 120, seed=0), 15, 25, torch.arange(120))
    nothing = make_links(torch.empty(2, 0, dtype=torch.int64), 15, 25, torch.empty(0, dtype=torch.int64))
    baseline = replace(candidates(is_by_time=True)[name].baseline, **FAST.get(name, {}))
    baseline.fit(links, csr_matrix((0, 25), dtype=np.float32), 0)
    assert baseline.score(nothing.queries(torch.tensor([3, 3]))).isfinite().all()
    first = baseline.score(links.queries_at(torch.tensor([0]), torch.tensor([0])))
    assert first.isfinite().all()


@pytest.mark.parametrize("name", {**BASELINES, **BY_TIME})
def test_a_query_knows_nothing_of_what_comes_later(name):
    """Where history rolls, links at its time and after it change no score."""
    links, time = random_links(15, 25, 120, seed=0), torch.arange(120) % 17
    features, whole = csr_matrix((0, 25), dtype=np.float32), make_links(links, 15, 25, time)
    candidate, users = candidates(is_by_time=True)[name], torch.tensor([2, 7, 11])
    for change in candidate.grid[-2:]:
        baseline = replace(candidate.baseline, **change | FAST.get(name, {}))
        baseline.fit(make_links(links[:, time < 9], 15, 25, time[time < 9]), features, 0)
        for at in (9, 13):
            earlier = make_links(links[:, time < at], 15, 25, time[time < at])
            scores = [baseline.score(known.queries_at(users, torch.full((3,), at))) for known in (earlier, whole)]
            assert torch.equal(*scores)


def test_splits_that_are_not_by_time_offer_none_that_needs_times():
    assert candidates(is_by_time=False) is BASELINES
    assert list(candidates(is_by_time=True)) == [*BASELINES, *BY_TIME]


def test_counts():
    links = make_links(torch.tensor([[0, 0, 1], [0, 2, 2]]), 2, 4)
    popularity, degrees = Popularity(), DegreeSum()
    popularity.fit(links, NO_FEATURES, 0)
    degrees.fit(links, NO_FEATURES, 0)
    assert popularity.score(links.queries(torch.tensor([1, 0]))).tolist() == [[1, 0, 2, 0]] * 2
    found = degrees.score(links.queries(torch.tensor([0])))
    assert found[0].exp().tolist() == pytest.approx([6, 3, 9, 3])


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
    links = make_links(random_links(30, 12, 150, seed=1), 30, 12)
    dense = links.matrix.toarray()
    norm = np.linalg.norm(dense, axis=0)
    similarity = dense.T @ dense / np.outer(norm, norm)
    np.fill_diagonal(similarity, 0)
    baseline = ItemKNN(num_neighbors=3)
    baseline.fit(links, NO_FEATURES, 0)
    weight = baseline.score(make_links(torch.arange(12).repeat(2, 1), 12, 12).queries(torch.arange(12))).numpy()
    assert np.allclose(weight[weight > 0], similarity[weight > 0])
    assert np.allclose(np.sort(weight, axis=0)[-3:], np.sort(similarity, axis=0)[-3:])  # the nearest, for each movie
    assert (weight > 0).sum(axis=0).tolist() == [3] * 12
    assert np.allclose(baseline.score(links.queries(torch.arange(30))), dense @ weight, atol=1e-5)


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
    train = known_links(val)
    for name, expected in {
        "degree sum": (0.930, 0.131, 0.118),
        "popularity": (0.843, 0.131, 0.118),
        "ItemKNN": (0.889, 0.231, 0.212),
        "iALS": (0.936, 0.247, 0.227),
        "EASE": (0.928, 0.262, 0.242),
    }.items():
        baseline = BASELINES[name].baseline
        baseline.fit(train, feature_matrix(graph), 0)
        score_users = scorer_of_baseline(baseline, train)
        found, auroc = rank_queries(ranking_task(val), score_users).means(), label_auroc(val, score_users)
        assert (auroc, found["recall@20"], found["ndcg@20"]) == pytest.approx(expected, abs=0.01), name
    assert found["recall@20"] == pytest.approx(0.262, abs=0.005)
