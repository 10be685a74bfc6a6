"""``model_card.md`` says what ``results.json`` says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_lp.callbacks.model_card import MEANING, Described, card
from lightning_lp.commands.cli import main
from lightning_lp.data.sources.synthetic import SAMPLE_NAME, write_movielens
from tests.journeys import QUIET, SMALL, best_checkpoint, fit, results, run_folders

SPLIT = {"strategy": "random", "seed": 3, "fingerprint": "ab", "train_links": 8_000, "val_links": 10, "test_links": 0}
DATASET = {"name": "a|b", "users": 5, "movies": 6, "links": 8_010, "fingerprint": "cd"}
DESCRIBED = Described("version_0", "my.Encoder", {"lr": 0.1, "note": "a|<b>"}, seed=7, command=None)


def read(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Front matter and lines of a card."""
    _, front, body = (folder / "model_card.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body.splitlines()


@pytest.fixture
def run(root, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fit(root, "--seed_everything=5").test_best()
    return run_folders()[0]


def test_it_says_what_the_results_say(run):
    found, (front, lines) = results(run), read(run)
    (model,) = front["model-index"]
    assert model["name"] == "version_0"
    assert [result["dataset"]["split"] for result in model["results"]] == ["validation", "test"]
    for result in model["results"]:
        part = found[result["dataset"]["split"]]
        expected = {name: part[name] for name in MEANING if name in part}
        assert {metric["type"]: metric["value"] for metric in result["metrics"]} == expected
        assert result["dataset"]["name"] == found["dataset"]["name"]
        assert result["task"]["type"] == front["pipeline_tag"] == "graph-ml"
    rows = {cells[0]: cells[1:] for line in lines if line.startswith("| ") for cells in [line.strip("| ").split(" | ")]}
    for name in ("auroc", "recall@20", "ndcg@20", "coverage@20"):
        assert rows[name] == [*(f"{found[part][name]:.4f}" for part in ("validation", "test")), MEANING[name]]
    text = "\n".join(lines)
    for name in ("users", "movies", "links"):
        assert f"{found['dataset'][name]:,} {'ratings' if name == 'links' else name}" in text
    for value in (found["dataset"]["fingerprint"], found["split"]["fingerprint"], found["checkpoint"]["file"]):
        assert value in text.replace("&#95;", "_")
    assert f"{found['split']['train_links']:,} ratings for training" in text
    assert "hidden_channels 8" in text
    assert "seed 5" in text
    assert "`lightning-lp fit --config config.yaml`" in text
    assert "num_movies" not in text
    assert "nothing about real data" not in text


def test_it_follows_the_results(run, root):
    before = read(run)[0]
    logger = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=.", "--trainer.logger.version=0"]
    flags = [f"--config={run / 'config.yaml'}", f"--ckpt_path={best_checkpoint(run)}", "--ranking.max_users=3"]
    main(["test", *flags, *logger])
    (model,) = read(run)[0]["model-index"]
    now = {metric["type"]: metric["value"] for metric in model["results"][1]["metrics"]}
    assert now.items() <= results(run)["test"].items()
    assert model != before["model-index"][0]


def test_a_split_by_time_and_the_sample_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / SAMPLE_NAME, num_users=30, num_movies=40, num_ratings=500)
    flags = ["--config=next", "--data.split.strategy=leave_last_out", "--model.encoder.transition_channels=8"]
    main(["fit", f"--data.root={tmp_path / SAMPLE_NAME}", "--trainer.max_epochs=1", *QUIET, *flags, *SMALL])
    _, lines = read(run_folders()[0])
    assert any(line.startswith("| label_mrr |") for line in lines)
    assert f"- {SAMPLE_NAME} is made up: its figures say nothing about real data." in lines
    assert not any("say little about the future" in line for line in lines)


def test_texts_are_shown_and_what_is_undefined_is_left_out_of_the_index():
    said = card({"dataset": DATASET, "split": SPLIT, "validation": {"auroc": None, "recall@20": 0.5}}, DESCRIBED)
    front = yaml.safe_load(said.split("---\n")[1])
    assert front["model-index"][0]["results"][0]["metrics"] == [
        {"type": "recall@20", "name": "recall@20", "value": 0.5}
    ]
    assert "| auroc | undefined |" in said
    assert "a&#124;b: 5 users" in said
    assert "note a&#124;&#60;b&#62;" in said
    assert "it was trained in Python" in said


def test_without_held_out_links_there_are_no_metrics():
    said = card({"dataset": DATASET, "split": SPLIT}, DESCRIBED)
    assert "model-index" not in yaml.safe_load(said.split("---\n")[1])
    assert "no ratings were held out" in said


def test_an_update_is_told():
    told = {"run": "logs/version_1", "links": 1_200, "users": 3, "movies": 0}
    said = card({"dataset": DATASET, "split": SPLIT, "update": told}, DESCRIBED)
    assert "weights of the run version&#95;1, since when 1,200 ratings, 3 users and 0 movies are new" in said
