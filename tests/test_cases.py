"""Every folder of the odd input files, through the command line: trained, tested, or refused in one line."""

import math

import pandas as pd
import pytest

from lightning_lp.__main__ import run
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.settings import SplitSettings
from lightning_lp.errors import UserError
from lightning_lp.recommend.recommender import Recommender
from tests.data.test_cases import READ, REFUSED, SAME
from tests.journeys import QUIET, best_checkpoint, fit, results, run_folders

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [name for name in READ if name not in SAME])  # those train as plain_control does
def test_trains(odd_inputs, name):
    cli = fit(odd_inputs / name, "--trainer.max_epochs=1")
    cli.test_best()
    found = results(run_folders()[0])
    users, movies, edges, genres = READ[name]
    assert (found["dataset"]["users"], found["dataset"]["movies"], found["dataset"]["links"]) == (users, movies, edges)
    assert found["dataset"]["rows_read"] == edges + sum(found["dataset"]["dropped"].values())
    assert cli.model.encoder.movie_lin.in_features == genres
    for part in ("validation", "test"):
        assert all(math.isfinite(value) for value in found[part].values())
    recommended = pd.concat(Recommender.load(run_folders()[0]).recommend_all(k=movies))
    assert len(recommended) == users * movies - edges  # all but what each user has rated
    assert recommended.score.between(0, 1).all()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(cases, name, capsys):
    with pytest.raises(SystemExit) as end:
        run(args=["fit", f"--data.root={cases / name}", *QUIET])
    assert end.value.code == 2
    error = capsys.readouterr().err
    (line,) = (line for line in error.splitlines() if line.startswith("error: "))
    assert "Traceback" not in error
    assert all(part in line for part in REFUSED[name])
    assert not run_folders_exist()


def run_folders_exist() -> bool:
    try:
        return bool(run_folders())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("name", "splits"),
    [("no_timestamp_column", False), ("url_in_timestamp", False), ("text_in_timestamp", True), ("plain_control", True)],
)
def test_time_is_needed_only_by_splits_by_time(cases, name, splits):
    for strategy in ("temporal", "leave_last_out"):
        data = MovieLensDataModule(root=str(cases / name), split=SplitSettings(strategy))
        if splits:
            data.setup()
            assert data.split.train_links.size(1) > 0
        else:
            with pytest.raises(UserError, match=r"ratings\.csv.*timestamp"):
                data.setup()


@pytest.mark.parametrize(("minimum", "links", "users"), [(3.5, 265, 30), (4.0, 162, 30)])
def test_minimum_rating(odd_inputs, minimum, links, users):
    cli = fit(odd_inputs / "half_star_ratings", f"--data.min_rating={minimum}", "--trainer.max_epochs=1")
    found = results(run_folders()[0])["dataset"]
    assert (found["links"], found["users"]) == (links, users)
    assert found["dropped"] == {"below_min_rating": 420 - links}
    assert cli.datamodule.graph.below_min_rating.size(1) == 420 - links


@pytest.mark.parametrize(
    ("trained_on", "then", "message"),
    [("few_genres", "new_genre_later", "Western"), ("plain_control", "one_more_user", "users: 1 new (")],
)
def test_a_checkpoint_meets_other_data(cases, trained_on, then, message, capsys):
    fit(cases / trained_on, "--trainer.max_epochs=1")
    checkpoint = best_checkpoint(run_folders()[0])
    with pytest.raises(SystemExit) as end:
        run(args=["test", f"--data.root={cases / then}", f"--ckpt_path={checkpoint}", *QUIET])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
