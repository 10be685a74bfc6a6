"""Fits without validation or without test, up to the last one on every link."""

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest

from lightning_lp.__main__ import run
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.settings import SplitSettings
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.recommend.recommender import Recommender
from tests.journeys import QUIET, fit, results, run_folders, run_script

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "shop"
    write_movielens(folder, num_users=30, num_movies=40, num_ratings=600, seed=0)
    return folder


@pytest.mark.parametrize(
    ("flags", "stages"),
    [
        (["--data.split.num_val=0"], ["test"]),
        (["--data.split.num_test=0"], ["validation"]),
        (["--data.split.num_val=0", "--data.split.num_test=0"], []),
        (["--data.split.strategy=leave_last_out", "--data.split.num_test=0"], ["validation"]),
        (["--data.split.strategy=temporal", "--data.split.num_val=0"], ["test"]),
    ],
)
def test_no_such_part_no_such_step(root, flags, stages, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(root, *flags).test_best()
    folder = run_folders()[0]
    found = results(folder)
    assert [part for part in ("validation", "test") if part in found] == stages
    assert (found["split"]["val_links"] > 0, found["split"]["test_links"] > 0) == tuple(
        part in stages for part in ("validation", "test")
    )
    has_validation = "validation" in stages
    assert (found["checkpoint"]["monitor"] == "val/auroc") == has_validation
    chosen = {"spectral_weight", "spectral_l2"} if has_validation else set()
    assert set(found.get("chosen", {})) == chosen, "what a fit without validation is to be given"
    if not has_validation:  # the last epoch is the one that is kept
        assert found["checkpoint"]["step"] == found["checkpoint"]["trained_steps"]
        assert found["checkpoint"]["file"].startswith("checkpoints/epoch=1-")
    assert len(Recommender.load(folder).recommend(1, k=3)) == 3
    # What cannot be judged is refused where it is asked for.
    for command, part in (("validate", "validation"), ("test", "test")):
        if part not in stages:
            capsys.readouterr()
            checkpoint = folder / found["checkpoint"]["file"]
            given = [command, f"--data.root={root}", *flags, *QUIET, f"--ckpt_path={checkpoint}"]
            with pytest.raises(SystemExit) as end:
                run(args=given)
            assert end.value.code == 2
            assert "has held no links out to judge on" in capsys.readouterr().err


def test_every_link_is_learned_from_and_continued(root):
    everything = ["--data.split.num_val=0", "--data.split.num_test=0"]
    cli = fit(root, *everything)
    assert cli.datamodule.split.train_links.size(1) == 600
    users = pd.read_csv(root / "ratings.csv").userId.unique()
    assert run_script("recommend.py", "--all-users", "--k=2", "--out=all.csv") == 0
    assert set(pd.read_csv("all.csv").userId) == set(users)
    assert run_script("fit.py", "--resume", "--trainer.max_epochs=3") == 0
    (folder,) = run_folders()
    found = json.loads((folder / "results.json").read_text())
    assert found["timing"]["epochs"] == 3
    assert found["checkpoint"]["file"].startswith("checkpoints/epoch=2-")


@pytest.mark.parametrize("script", ["compare.py", "report.py"])
def test_what_needs_a_part_says_so(root, script, capsys):
    fit(root, "--data.split.num_val=0", "--data.split.num_test=0")
    assert run_script(script, "--run=lightning_logs/version_0") == 2
    assert "--data.split.num_val 0 has held no links out" in capsys.readouterr().err


def test_loaders_without_a_part_are_empty(root):
    data = MovieLensDataModule(root=str(root), split=SplitSettings(num_val=0, num_test=0))
    data.setup()
    assert (data.val_dataloader(), data.test_dataloader()) == ([], [])
    assert sum(int(batch["user", "rates", "movie"].edge_label.sum()) for batch in data.train_dataloader()) == 600
