"""Splits by time and splits of one's own, as users fit on them."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from lightning_lp.__main__ import run
from lightning_lp.checkpointing.runs import load_run
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.data.settings import SplitSettings
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule
from tests.journeys import QUIET, best_checkpoint, fit, results, run_folders


@pytest.fixture
def folder(root, tmp_path, monkeypatch) -> Path:
    """Files of one's own: train, val and test."""
    monkeypatch.chdir(tmp_path)
    ratings = pd.read_csv(root / "ratings.csv").sort_values("timestamp", ignore_index=True)
    (tmp_path / "own").mkdir()
    for name, part in {"train": ratings[:700], "val": ratings[700:800], "test": ratings[800:]}.items():
        part.to_csv(tmp_path / "own" / f"{name}.csv", index=False)
    return tmp_path / "own"


def test_own_parts_with_times(folder, capsys):
    fit(folder, "--data.split.strategy=given", "--data.split.history=rolling").test_best()
    found = results(run_folders()[0])
    wanted = {"strategy": "given", "train_links": 700, "val_links": 100, "test_links": 100}
    assert found["split"].items() >= wanted.items()
    assert 0 <= found["split"]["val_tied"] <= 1
    assert set(found) >= {"validation", "test"}
    assert "split given, seed 0" in capsys.readouterr().out


def test_own_parts_without_times_ratings_and_validation(folder):
    (folder / "val.csv").unlink()
    for name in ("train.csv", "test.csv"):
        pd.read_csv(folder / name)[["userId", "movieId"]].to_csv(folder / name, index=False)
    fit(folder, "--data.split.strategy=given").test_best()
    found = results(run_folders()[0])
    assert found["split"].items() >= {"val_links": 0, "test_links": 100, "test_tied": None}.items()
    assert "validation" not in found
    assert found["test"]["auroc"] > 0


def test_the_protocol_is_handed_to_the_model(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take_over, handed = LinkPredictionModule.take_over, []
    monkeypatch.setattr(
        LinkPredictionModule, "take_over", lambda self, handover: take_over(self, handed.append(handover) or handover)
    )
    for flags in ([], ["--data.split.strategy=temporal", "--data.split.history=rolling"]):
        fit(root, *flags, "--trainer.max_epochs=1")
    assert {(handover.is_by_time, handover.history) for handover in handed} == {(False, "frozen"), (True, "rolling")}


def test_rolling_history_needs_a_split_by_time(root, capsys):
    with pytest.raises(SystemExit):
        run(args=["fit", f"--data.root={root}", *QUIET, "--data.split.history=rolling"])
    assert "--data.split.history rolling: frozen with --data.split.strategy random" in capsys.readouterr().err


def test_a_checkpoint_of_before_is_refused_with_the_way_on_and_found_by_its_run(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(root, "--data.split.strategy=temporal", "--data.split.non_links=any", "--trainer.max_epochs=1")
    path = best_checkpoint(run_folders()[0])
    old = torch.load(path, weights_only=True)
    del old["datamodule_hyper_parameters"]["split"]["non_links"], old["datamodule_hyper_parameters"]["split"]["history"]
    torch.save(old, path)
    now = MovieLensDataModule(str(root), split=SplitSettings("temporal"))
    with pytest.raises(UserError, match=r"with --data\.split\.non_links any if it is of version 0\.2 or before"):
        now.load_state_dict(old["MovieLensDataModule"])
    MovieLensDataModule(str(root), split=SplitSettings("temporal", non_links="any")).load_state_dict(
        old["MovieLensDataModule"]
    )
    data, _ = load_run(path, {})
    data.setup()
    assert data.split_settings == SplitSettings("temporal", non_links="any")
    assert "edge_label_time" in data.split.val[RATES]
