import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lp.data.schema import RATES
from lightning_lp.evaluation import ranking
from lightning_lp.evaluation.ranking import KS, Ranking, means, rank_users, top_k
from lightning_lp.evaluation.ranking_task import RankingTask, ranking_task
from tests.graphs import make_graph

SEEN, HELD_OUT = 1, 2


def make_task(cells: torch.Tensor) -> RankingTask:
    """A task from a table of users and movies whose cells are 0, ``SEEN`` or ``HELD_OUT``."""
    graph = make_graph((cells == SEEN).nonzero().t().contiguous(), *cells.shape)
    graph[RATES].edge_label_index = (cells >= 0).nonzero().t()
    graph[RATES].edge_label = (cells == HELD_OUT).float().flatten()
    return ranking_task(graph)


def judge_table(cells: list[list[int]], scores: list[list[float]]) -> Ranking:
    table = torch.tensor(scores)
    return rank_users(make_task(torch.tensor(cells)), lambda users: table[users])


def naive(cells: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The definitions, word by word."""
    num_users, num_movies = cells.shape
    raters = [max(1, int((cells[:, movie] == SEEN).sum())) for movie in range(num_movies)]
    values: dict[str, list[float]] = {}
    listed: dict[int, set[int]] = {k: set() for k in KS}
    for user in range(num_users):
        held_out = {movie for movie in range(num_movies) if cells[user, movie] == HELD_OUT}
        if not held_out:
            continue
        unseen = [movie for movie in range(num_movies) if cells[user, movie] != SEEN]
        ordered = sorted(unseen, key=lambda movie: (-scores[user, movie], movie))
        for k in KS:
            movies = ordered[:k]
            listed[k] |= set(movies)
            places = [place for place, movie in enumerate(movies, start=1) if movie in held_out]
            best = min(k, len(held_out))
            ideal = sum(1 / math.log2(place + 1) for place in range(1, best + 1))
            precision = sum(hits / place for hits, place in enumerate(places, start=1))
            for name, value in {
                "recall": len(places) / len(held_out),
                "ndcg": sum(1 / math.log2(place + 1) for place in places) / ideal,
                "hit_rate": float(bool(places)),
                "mrr": 1 / places[0] if places else 0.0,
                "map": precision / best,
                "novelty": sum(-math.log2(raters[movie] / num_users) for movie in movies) / len(movies),
            }.items():
                values.setdefault(f"{name}@{k}", []).append(value)
    result = {name: sum(value) / len(value) for name, value in values.items()}
    return result | {f"coverage@{k}": len(listed[k]) / num_movies for k in KS}


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 45), st.sampled_from([2, 5, 1000]), st.integers(0, 2**32 - 1))
def test_metrics_equal_a_naive_loop(num_users, num_movies, num_scores, seed):
    rng = np.random.default_rng(seed)
    cells = rng.choice([0, SEEN, HELD_OUT], size=(num_users, num_movies), p=rng.dirichlet([1, 1, 1]))
    cells[0, 0] = HELD_OUT
    scores = rng.integers(num_scores, size=cells.shape).astype(np.float32)  # few distinct scores: many ties
    table = torch.from_numpy(scores)
    found = rank_users(make_task(torch.from_numpy(cells)), lambda users: table[users]).means()
    assert found == pytest.approx(naive(cells, scores), abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.integers(1, 60), st.integers(1, 25), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_top_k_breaks_ties_by_index(num, num_movies, k, num_scores, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(num_scores, size=(num, num_movies)).astype(np.float32)
    is_seen = rng.random(scores.shape) < rng.random()
    seen = torch.from_numpy(np.stack(is_seen.nonzero()))
    lists = top_k(torch.from_numpy(scores.copy()), seen, k)
    for row in range(num):
        unseen = np.flatnonzero(~is_seen[row])
        expected = sorted(unseen.tolist(), key=lambda movie: (-scores[row, movie], movie))[:k]
        assert lists[row].tolist() == expected + [num_movies] * (k - len(expected))


def test_top_k_of_scores_that_are_no_numbers():
    scores = torch.tensor([[torch.nan, -torch.inf, torch.inf, 0.0, 1.0]])
    assert top_k(scores, torch.tensor([[0], [4]]), 5).tolist() == [[2, 3, 0, 1, 5]]
    nothing_seen = torch.empty(2, 0, dtype=torch.int64)
    assert top_k(torch.full((1, 3), torch.nan), nothing_seen, 2).tolist() == [[0, 1]]


def test_users_without_held_out_movies_are_left_out():
    ranking = judge_table([[0, SEEN, 0], [0, 0, HELD_OUT]], [[1.0, 2.0, 3.0]] * 2)
    assert ranking.users.tolist() == [1]
    assert ranking.means()["mrr@10"] == 1.0


def test_no_held_out_movie_at_all():
    result = judge_table([[0, SEEN]], [[1.0, 2.0]]).means()
    assert math.isnan(result["ndcg@20"])
    assert result["coverage@20"] == 0.0


def test_k_above_the_catalogue():
    ranking = judge_table([[HELD_OUT, 0, SEEN]], [[1.0, 2.0, 3.0]])
    assert ranking.lists.tolist() == [[1, 0] + [3] * (max(KS) - 2)]
    result = ranking.means()
    assert result["recall@20"] == 1.0
    assert result["mrr@20"] == result["map@20"] == 0.5
    assert result["ndcg@20"] == pytest.approx(1 / math.log2(3))
    assert result["coverage@20"] == pytest.approx(2 / 3)


def test_all_but_the_held_out_movies_are_seen():
    result = judge_table([[SEEN, HELD_OUT, SEEN]], [[3.0, 1.0, 2.0]]).means()
    assert all(result[f"{name}@{k}"] == 1.0 for name in ("recall", "ndcg", "hit_rate", "mrr", "map") for k in KS)


def test_recall_divides_by_all_held_out_movies_and_ndcg_by_the_best_that_k_allows():
    result = judge_table([[HELD_OUT] * 40], [[0.0] * 40]).means()
    assert result["recall@10"] == 0.25
    assert result["recall@20"] == 0.5
    assert result["ndcg@10"] == pytest.approx(1.0)
    assert result["map@10"] == 1.0


def test_novelty_counts_the_users_who_have_seen_a_movie():
    cells = [[HELD_OUT, 0], [SEEN, 0], [SEEN, SEEN], [SEEN, SEEN]]
    ranking = judge_table(cells, [[1.0, 0.0]] * 4)
    assert ranking.means()["novelty@10"] == pytest.approx((-math.log2(3 / 4) - math.log2(2 / 4)) / 2)


def test_movies_rated_too_low_are_seen():
    graph = make_graph(torch.tensor([[0], [0]]), 1, 4)
    graph[RATES].edge_label_index, graph[RATES].edge_label = torch.tensor([[0, 0], [3, 2]]), torch.tensor([1.0, 0.0])
    ranking = rank_users(ranking_task(graph, torch.tensor([[0], [1]])), lambda users: torch.zeros(len(users), 4))
    assert ranking.lists[0, :3].tolist() == [2, 3, 4]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_processes_and_chunks_add_up(monkeypatch, world_size):
    rng = np.random.default_rng(0)
    task = make_task(torch.from_numpy(rng.choice([0, SEEN, HELD_OUT], size=(50, 70))))
    table = torch.from_numpy(rng.random((50, 70), np.float32))
    whole = rank_users(task, lambda users: table[users])
    monkeypatch.setattr(ranking, "_MAX_USERS", 9)
    parts = [rank_users(task, lambda users: table[users], rank, world_size) for rank in range(world_size)]
    assert sorted(user for part in parts for user in part.users.tolist()) == whole.users.tolist()
    totals = [part.totals() for part in parts]
    summed = {name: sum(total[name] for total in totals) for name in totals[0]}
    assert means(summed) == pytest.approx(whole.means(), abs=1e-12)


def test_users_are_scored_in_chunks_of_bounded_size(monkeypatch):
    monkeypatch.setattr(ranking, "_MAX_SCORES", 100)
    sizes = []

    def score(users):
        sizes.append(len(users))
        return torch.zeros(len(users), 30)

    rank_users(make_task(torch.full((10, 30), HELD_OUT)), score)
    assert sizes == [3, 3, 3, 1]


def test_a_user_with_two_unseen_movies_among_many_equal_scores():
    seen = torch.tensor([movie for movie in range(200) if movie not in (150, 160)])
    lists = top_k(torch.zeros(8, 200), torch.stack([torch.zeros_like(seen), seen]), 20)
    assert lists[0].tolist() == [150, 160] + [200] * 18
    assert all(row.tolist() == list(range(20)) for row in lists[1:])
