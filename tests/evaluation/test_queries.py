"""Rolling history: what each query sees, against a naive loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lp.data.schema import RATES
from lightning_lp.evaluation.baselines import BASELINES
from lightning_lp.evaluation.queries import is_by_time, known_links, make_links
from lightning_lp.evaluation.ranking import rank_queries, rank_users
from lightning_lp.evaluation.ranking_task import ranking_task
from lightning_lp.evaluation.scoring import score_labels, score_query_labels, scorer_of_baseline
from tests.graphs import make_graph


def part(seed, num_users=5, num_movies=8, cut=None):
    """A part of a split by time, with ties: messages come first, then held-out links with non-links beside them."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(np.argwhere(rng.random((num_users, num_movies)) < 0.7))
    time = np.sort(rng.integers(12, size=len(pairs)))
    cut = rng.integers(len(pairs)) if cut is None else cut
    graph = make_graph(torch.from_numpy(pairs[:cut].T.copy()), num_users, num_movies)
    store = graph[RATES]
    store.time = torch.from_numpy(time[:cut])
    others = np.stack([pairs[cut:, 0], rng.integers(num_movies, size=len(pairs) - cut)])
    store.edge_label_index = torch.from_numpy(np.concatenate([pairs[cut:].T, others], axis=1))
    store.edge_label = torch.tensor([1.0, 0.0]).repeat_interleave(len(pairs) - cut)
    store.edge_label_time = torch.from_numpy(time[cut:]).repeat(2)
    return graph, pairs, time, cut


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_rolling_query_sees_what_is_strictly_earlier(seed, has_below):
    graph, pairs, time, cut = part(seed)
    below = torch.tensor([[0, 2, 2], [7, 0, 1]]) if has_below else None
    task = ranking_task(graph, below, history="rolling")
    held_out = {}
    for (user, movie), at in zip(pairs[cut:].tolist(), time[cut:].tolist(), strict=True):
        held_out.setdefault((user, at), set()).add(movie)
    assert list(zip(task.users.tolist(), task.time.tolist(), strict=True)) == sorted(held_out)
    for position, (user, at) in enumerate(sorted(held_out)):
        earlier = [movie for (u, movie), t in zip(pairs.tolist(), time, strict=True) if u == user and t < at]
        low = [] if below is None else below[1, below[0] == user].tolist()
        assert sorted(task.seen[1, task.seen[0] == position].tolist()) == sorted(earlier + low)
        assert set(task.held_out[1, task.held_out[0] == position].tolist()) == held_out[user, at]
    assert torch.equal(task.seen[0], task.seen[0].sort().values)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_frozen_query_is_asked_at_the_latest_known_time(seed):
    graph, pairs, time, cut = part(seed)
    task = ranking_task(graph)
    assert task.users.tolist() == sorted(set(pairs[cut:, 0].tolist()))
    for user, at in zip(task.users.tolist(), task.time.tolist() if cut else [], strict=bool(cut)):
        assert at == max(time[:cut][pairs[:cut, 0] == user], default=time[:cut].max())


def test_without_times_there_is_no_time_of_a_query():
    graph, *_ = part(3, cut=3)
    del graph[RATES].edge_label_time
    assert not is_by_time(graph)
    assert ranking_task(graph).time is None
    assert known_links(graph).sequences.time is None


def test_a_few_of_all_queries_are_the_same_each_time():
    graph, *_ = part(3, cut=3)
    whole, some = (ranking_task(graph, max_users=num, history="rolling") for num in (None, 4))
    assert len(some.users) == 4 < len(whole.users)
    for position, query in enumerate(zip(some.users.tolist(), some.time.tolist(), strict=True)):
        same = list(zip(whole.users.tolist(), whole.time.tolist(), strict=True)).index(query)
        for name in ("seen", "held_out"):
            of_some, of_whole = getattr(some, name), getattr(whole, name)
            assert torch.equal(of_some[1, of_some[0] == position], of_whole[1, of_whole[0] == same])
    assert torch.equal(some.users, ranking_task(graph, max_users=4, history="rolling").users)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_metrics_are_means_over_queries(seed):
    graph, *_ = part(seed)
    table = torch.from_numpy(np.random.default_rng(seed).random((5, 12, 8), np.float32))
    task = ranking_task(graph, history="rolling")
    ranking = rank_queries(task, lambda users, time: table[users, time])
    for position in range(len(task.users)):
        scores = table[task.users[position], task.time[position]].clone()
        scores[task.seen[1, task.seen[0] == position]] = -1
        held_out = task.held_out[1, task.held_out[0] == position]
        places = [1 + int((scores > scores[movie]).sum()) for movie in held_out]
        assert ranking.values["mrr@10"][position] == pytest.approx(1 / min(places))
    labels = score_query_labels(graph, lambda users, time: table[users, time], "rolling", chunk=3)
    user, movie = graph[RATES].edge_label_index
    assert torch.equal(labels, table[user, graph[RATES].edge_label_time, movie])


def test_a_model_without_times_is_ranked_at_all_times():
    graph, *_ = part(1, cut=3)
    table = torch.rand(5, 8)
    task = ranking_task(graph, history="rolling")
    assert len(task.users) > len(task.users.unique())
    ranking = rank_users(task, lambda users: table[users])
    for user, movies in zip(task.users, ranking.lists, strict=True):
        listed = table[user][movies[movies < 8]]
        assert torch.equal(listed, listed.sort(descending=True).values)
    assert torch.equal(score_labels(graph, lambda users: table[users]), table[tuple(graph[RATES].edge_label_index)])


def test_a_baseline_follows_a_history_that_rolls():
    graph, pairs, time, cut = part(2, cut=5)
    known, baseline = known_links(graph, "rolling"), BASELINES["ItemKNN"].baseline
    baseline.fit(known_links(graph), make_links(torch.empty(2, 0).long(), 0, 8).matrix, 0)
    score = scorer_of_baseline(baseline, known, "rolling")
    users, times = torch.tensor([1, 1]), torch.tensor([int(time[cut]), 12])
    for row, (user, at) in zip(score(users, times), ((1, time[cut]), (1, 12)), strict=True):
        earlier = torch.from_numpy(pairs[(pairs[:, 0] == user) & (time < at)].T.copy())
        alone = make_links(earlier, 5, 8)
        assert torch.equal(baseline.score(alone.queries(torch.tensor([user])))[0], row)
    with pytest.raises(ValueError, match="time of each query"):
        score(users)
