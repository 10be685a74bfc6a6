import math

import pytest
import torch

from lightning_lp.evaluation.breakdown import by_movie_popularity, by_user_activity, recall_curve
from lightning_lp.evaluation.ranking import judge
from lightning_lp.evaluation.ranking_task import RankingTask


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


def test_recall_curve_ends_at_recall_20():
    task, _ = make_task()
    lists = torch.full((3, 20), 30)
    lists[0, 0], lists[0, 4], lists[1, 3] = 6, 5, 29
    ranking = judge(task, torch.arange(3), lists)
    curve = recall_curve(task, ranking)
    assert curve[[0, 3, 4]].tolist() == pytest.approx([0.5 / 3, 1.5 / 3, 2 / 3])
    assert float(curve[19]) == pytest.approx(ranking.means()["recall@20"])
