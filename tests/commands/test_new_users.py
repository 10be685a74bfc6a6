import json

import numpy as np
import pandas as pd
import pytest

from lightning_lp.commands.hidden_users import hide_users, write_without
from lightning_lp.data.rating_graph import build_graph
from lightning_lp.data.schema import RATES
from lightning_lp.data.tables import read_tables
from lightning_lp.errors import UserError
from tests.journeys import QUIET, SMALL, run_script


def test_history_and_the_rest_are_a_users_ratings(root):
    graph = build_graph(read_tables(root))
    hidden = hide_users(graph, share=0.2, seed=3)
    assert len(hidden.ids) == len(set(hidden.ids)) == 8
    links = graph.data[RATES].edge_index.numpy()
    for user, history, held_out in zip(hidden.ids, hidden.histories, hidden.held_out, strict=True):
        rated = links[1][links[0] == graph.users.index([user])[0]]
        assert sorted([*history, *held_out]) == rated.tolist()
        assert len(history) == int(0.8 * len(rated))
        assert len(held_out) > 0
    for user, history, times, ratings in zip(
        hidden.ids, hidden.histories, hidden.told["times"], hidden.told["ratings"], strict=True
    ):
        assert (np.diff(times) >= 0).all(), "the latest comes last"
        for movie, time, rating in zip(history, times, ratings, strict=True):
            (place,) = np.flatnonzero((links[0] == graph.users.index([user])[0]) & (links[1] == movie))
            assert (graph.data[RATES].time[place], graph.data[RATES].rating[place]) == (time, rating)


def test_the_choice_follows_the_seed(root):
    graph = build_graph(read_tables(root))
    first, again, other = (hide_users(graph, seed=seed) for seed in (0, 0, 1))
    assert (first.ids == again.ids).all()
    assert all((a == b).all() for a, b in zip(first.held_out, again.held_out, strict=True))
    assert (first.ids != other.ids).any()


@pytest.mark.parametrize("share", [0, 1, -0.5, 0.99])
def test_a_share_that_leaves_nobody(root, share):
    with pytest.raises(UserError, match=r"none to train on|--share"):
        hide_users(build_graph(read_tables(root)), share)


def test_what_is_written_is_the_rest(root, tmp_path):
    tables = read_tables(root)
    hidden = hide_users(build_graph(tables))
    write_without(tables, hidden, tmp_path / "rest")
    rest = read_tables(tmp_path / "rest")
    pd.testing.assert_frame_equal(rest.movies, tables.movies)
    visible = tables.ratings[~np.isin(tables.ratings["user"], hidden.ids)]
    assert len(visible) < len(tables.ratings)
    pd.testing.assert_frame_equal(rest.ratings, visible.reset_index(drop=True))


@pytest.mark.slow
def test_script_compares_four_models(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--root", str(root), "--share", "0.2", "--trainer.max_epochs=2", *QUIET, *SMALL]
    assert run_script("new_users.py", *flags) == 0
    out = capsys.readouterr().out
    assert "8 of 40 users were hidden; all metrics: lightning_logs/new_users.json" in out
    found = json.loads((tmp_path / "lightning_logs" / "new_users.json").read_text())
    assert (found["dataset"], found["users"], found["hidden"]) == ("movies", 40, 8)
    assert list(found["models"]) == ["lightning_lp", "EASE + features", "ItemKNN", "popularity"]
    for name, metrics in found["models"].items():
        assert name in out
        assert 0 < metrics["recall@20"] <= 1
        assert f"{metrics['recall@20']:.4f}" in out
    assert [path.name for path in tmp_path.iterdir()] == ["lightning_logs"]
