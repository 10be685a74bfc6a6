import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lightning_lp.checkpointing.runs import load_run
from lightning_lp.commands import compare as module
from lightning_lp.commands.compare import compare
from lightning_lp.commands.comparison_tables import markdown, rich_table
from lightning_lp.data.settings import Sampling
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.evaluation.baselines import BASELINES, candidates
from lightning_lp.evaluation.comparison import MODEL, Entry
from lightning_lp.evaluation.significance import PairedTest
from tests.journeys import fit, run_folders, run_script


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data in ``movies`` and a run in ``lightning_logs/version_0``."""
    folder = tmp_path_factory.mktemp("trained")
    write_movielens(folder / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(folder / "movies", "--data.split.seed=5")
        assert len(run_folders()) == 1
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as current folder, with baselines that are quick to fit."""
    shutil.copytree(trained / "lightning_logs", tmp_path / "lightning_logs")
    monkeypatch.chdir(tmp_path)
    fast = {
        name: replace(candidate, baseline=replace(candidate.baseline, epochs=2, channels=8))
        for name, candidate in BASELINES.items()
        if hasattr(candidate.baseline, "epochs")
    }
    monkeypatch.setattr(module, "candidates", lambda is_by_time: {**BASELINES, **fast})
    return tmp_path


def report(folder: Path) -> dict:
    return json.loads((folder / "comparison.json").read_text())


@pytest.mark.slow
def test_a_run_is_compared_on_its_own_split(folder, capsys):
    version = folder / "lightning_logs" / "version_0"
    compare(["--run", str(version), "--quick"])
    shown, found = capsys.readouterr().out, report(version)
    assert max(map(len, shown.split("written to")[0].splitlines())) <= 100
    assert "…" not in shown
    results = json.loads((version / "results.json").read_text())
    assert found["split"] == results["split"]
    assert (found["part"], found["quick"], found["dataset"]["name"]) == ("validation", True, "movies")
    assert set(found["models"]) == {MODEL, *BASELINES}
    ours = found["models"][MODEL]
    expected = {name: value for name, value in results["validation"].items() if "@" in name}
    assert ours["metrics"] == pytest.approx(expected, abs=1e-6)
    assert ours["auroc"] == pytest.approx(results["validation"]["auroc"], abs=1e-6)
    assert ours["fit_s"] == results["timing"]["fit_s"]
    assert ours["test"] is None
    for name in BASELINES:
        entry = found["models"][name]
        low, high = entry["intervals"]["ndcg@20"]
        assert low <= entry["metrics"]["ndcg@20"] <= high
        difference = ours["metrics"]["ndcg@20"] - entry["metrics"]["ndcg@20"]
        assert entry["test"]["difference"] == pytest.approx(difference, abs=1e-6)
        assert entry["test"]["p"] <= entry["test"]["p_holm"] <= 1
        assert name in shown
    text = (version / "comparison.md").read_text()
    assert text.count("\n| ") == len(BASELINES) + 3
    assert "- EASE: l2 300.0, feature_weight 0.0, dropout 0.0\n" in text
    assert "- EDLAE + features: l2 150.0, feature_weight 3.0, dropout 0.2\n" in text


def test_the_table_has_room_for_every_name(capsys):
    metrics = {"recall@20": 0.25, "ndcg@20": 0.25, "coverage@20": 0.25}
    known = {"metrics": metrics, "intervals": dict.fromkeys(metrics, (0.125, 0.375)), "auroc": 0.5, "fit_s": 9999.9}
    test = PairedTest(-0.125, 0.0625, 0.0625)
    entries = [Entry(MODEL, **known), *(Entry(name, **known, test=test) for name in candidates(is_by_time=True))]
    Console(width=100).print(rich_table("title", entries))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(entry.name in shown for entry in entries)


@pytest.mark.slow
def test_without_a_run_settings_are_searched(folder, trained, monkeypatch):
    few = {name: BASELINES[name] for name in ("popularity", "ItemKNN", "EASE")}
    monkeypatch.setattr(module, "candidates", lambda is_by_time: few)
    common = [f"--data.root={trained / 'movies'}", "--data.split.strategy=leave_last_out"]
    compare(common)
    found = report(folder / "lightning_logs" / "comparison")
    assert found["split"]["strategy"] == "leave_last_out"
    search = found["models"]["EASE"]["search"]
    assert [tried["l2"] for tried in search] == [change["l2"] for change in BASELINES["EASE"].grid]
    best = max(search, key=lambda tried: tried["ndcg@20"])
    assert found["models"]["EASE"]["parameters"] == {"l2": best["l2"], "feature_weight": 0.0, "dropout": 0.0}
    assert found["models"]["EASE"]["metrics"]["ndcg@20"] == best["ndcg@20"]
    # Test is ranked by the settings that validation chose.
    compare([*common, "--part=test", "--out=tested"])
    tested = report(folder / "tested")
    assert tested["part"] == "test"
    assert tested["models"]["EASE"]["search"] == search
    assert tested["models"]["EASE"]["metrics"] != found["models"]["EASE"]["metrics"]
    assert not list((folder / "tested").glob("*.partial"))


def test_what_would_not_fit_in_memory_is_skipped_with_the_reason(folder, trained, capsys):
    compare([f"--data.root={trained / 'movies'}", "--quick", "--max_memory=1e-5", "--out=small"])
    found = report(folder / "small")["models"]["EASE"]
    assert found["skipped"].startswith("needs 0.0 GiB of memory")
    assert found["auroc"] is None
    assert "EASE was skipped: needs" in capsys.readouterr().out
    assert "- EASE: skipped, needs" in (folder / "small" / "comparison.md").read_text()
    assert report(folder / "small")["models"]["popularity"]["metrics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "nowhere"], "nowhere: no such file or folder"),
        (["--run", "lightning_logs"], "no one best checkpoint"),
        (["--run", "lightning_logs/version_0", "--data.split.seed", "6"], "another split of the same data"),
        (["--run", "lightning_logs/version_0", "--out", "lightning_logs/version_0/config.yaml"], "is a file"),
        (["--data.root", "nowhere"], "nowhere not found"),
        (["--run", "lightning_logs/version_0/config.yaml"], "not a checkpoint of lightning_lp"),
    ],
)
def test_mistakes_are_told_in_one_sentence(folder, options, message):
    with pytest.raises(UserError, match=message):
        compare([*options, "--quick"])


@pytest.mark.parametrize("options", [["--part", "train"], ["--rum", "x"], ["--seed", "one"]])
def test_wrong_options_end_with_status_2(folder, options, capsys):
    with pytest.raises(SystemExit) as ended:
        compare(options)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_script_is_that_command(folder, capsys):
    assert run_script("compare.py", "--run", "nowhere") == 2
    assert capsys.readouterr().err.startswith("error: nowhere: no such file or folder")


def test_the_checkpoint_is_enough_to_find_the_data_settings(folder):
    checkpoint = next((folder / "lightning_logs" / "version_0" / "checkpoints").glob("epoch*.ckpt"))
    data, model = load_run(checkpoint, {"eval_batch_size": 7, "sampling": {"neg_sampling_ratio": 3.0}})
    assert data.split_settings.seed == 5
    assert data.sampling == Sampling(neg_sampling_ratio=3.0)
    assert data.hparams["eval_batch_size"] == 7
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_skipped_models_are_last():
    entries = [Entry("big", skipped="needs more")]
    assert "| big | skipped |  |" in markdown("title", entries)


@pytest.mark.slow
def test_quick_comparison_of_movielens(movielens, tmp_path):
    compare([f"--data.root={movielens}", "--quick", f"--out={tmp_path}"])
    models = report(tmp_path)["models"]
    recall = {name: entry["metrics"]["recall@20"] for name, entry in models.items()}
    assert recall["EASE"] == pytest.approx(0.262, abs=0.02)  # our own split: seed 0 draws otherwise than PyG's
    assert (
        recall["EASE + features"]
        > recall["EASE"]
        > recall["iALS"]
        > recall["LightGCN"]
        > recall["BPR-MF"]
        > recall["popularity"]
    )
