import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lp.data.schema import RATES
from lightning_lp.evaluation.breakdown import (
    DAY_BINS,
    by_gap,
    by_history_age,
    by_movie_popularity,
    by_user_activity,
    recall_curve,
)
from lightning_lp.evaluation.ranking import judge
from lightning_lp.evaluation.ranking_task import RankingTask, ranking_task
from tests.evaluation.test_queries import part


def make_task() -> tuple[RankingTask, torch.Tensor]:
    """Three users; movies 0 to 29, of which movie m has m raters."""
    seen = torch.tensor([[0, *[1] * 25], [0, *range(25)]])
    held_out = torch.tensor([[0, 0, 1, 2], [5, 6, 29, 7]])
    task = RankingTask(torch.arange(3), seen, held_out, torch.zeros(30))
    return task, torch.arange(30)


def test_recall_by_popularity_and_activity():
    task, num_raters = make_task()
    lists = torch.full((3, 20), 30)
    lists[0, 0], lists[1, 3], lists[2, 0] = 6, 29, 8
    rankings = {"model": judge(task, torch.arange(3), lists)}
    movies = by_movie_popularity(task, rankings, num_raters)
    assert movies.labels == ["0", "1-5", "6-20", "21-50", "51-100", "101+"]
    assert movies.counts == [0, 1, 2, 1, 0, 0]
    assert math.isnan(movies.recall["model"][0])
    assert movies.recall["model"][1:4] == [0.0, 0.5, 1.0]
    users = by_user_activity(task, rankings)
    assert users.counts[:2] == [2, 1]
    assert users.recall["model"][:2] == [0.25, 1.0]


DAYS = [0, 0.5, 0.9, 1, 3, 7, 20, 40, 200, 366, 800, 2000]
LABELS = ["none", "0", "1-6", "7-29", "30-179", "180-364", "365-1094", "1095+"]


def bin_of(seconds: int) -> str:
    return LABELS[max(i for i, low in enumerate(DAY_BINS) if seconds // 86_400 >= low)]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["frozen", "rolling"]))
def test_recall_by_age_and_gap_equals_a_naive_loop(seed, history):
    graph, pairs, time, cut = part(seed)
    time = (torch.tensor(DAYS) * 86_400).long()[time]
    store = graph[RATES]
    store.time, store.edge_label_time = time[:cut], time[cut:].repeat(2)
    task = ranking_task(graph, history=history)
    lists = torch.rand(len(task.users), 8, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)[:, :4]
    lists = torch.cat([lists, torch.full((len(task.users), 16), 8)], dim=1)
    ranking = judge(task, torch.arange(len(task.users)), lists)
    ages, gaps = ({label: [] for label in LABELS} for _ in range(2))
    for position, user in enumerate(task.users.tolist()):
        own = [
            (at, i < cut, movie)
            for i, ((one, movie), at) in enumerate(zip(pairs, time.tolist(), strict=True))
            if one == user
        ]
        asked = task.time[position] if history == "rolling" else None
        known = [at for at, is_message, _ in own if (is_message if asked is None else at < asked)]
        held_out = [(at, movie) for at, is_message, movie in own if not is_message and asked in (None, at)]
        found = [movie in lists[position] for _, movie in held_out]
        ages[bin_of(max(known) - min(known)) if known else "none"].append(sum(found) / len(found))
        for (at, _), is_found in zip(held_out, found, strict=True):
            gaps[bin_of(at - max(known)) if known else "none"].append(is_found)
    for found, expected in ((by_history_age, ages), (by_gap, gaps)):
        breakdown = found(task, {"model": ranking}, graph, history)
        assert breakdown.labels == LABELS
        assert breakdown.counts == [*map(len, expected.values())]
        for recall, values in zip(breakdown.recall["model"], expected.values(), strict=True):
            assert recall == pytest.approx(sum(values) / len(values)) if values else math.isnan(recall)


def test_times_are_needed_to_tell_ages():
    graph, *_ = part(3, cut=3)
    task = ranking_task(graph)
    del graph[RATES].edge_label_time
    with pytest.raises(ValueError, match="this split is not by time"):
        by_history_age(task, {}, graph)


def test_recall_curve_ends_at_recall_20():
    task, _ = make_task()
    lists = torch.full((3, 20), 30)
    lists[0, 0], lists[0, 4], lists[1, 3] = 6, 5, 29
    ranking = judge(task, torch.arange(3), lists)
    curve = recall_curve(task, ranking)
    assert curve[[0, 3, 4]].tolist() == pytest.approx([0.5 / 3, 1.5 / 3, 2 / 3])
    assert float(curve[19]) == pytest.approx(ranking.means()["recall@20"])
