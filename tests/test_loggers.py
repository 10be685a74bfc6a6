"""Lightning's other loggers: what a run leaves then, and that it is found, used and updated."""

import csv
from pathlib import Path

import pytest

from lightning_lp.__main__ import run
from lightning_lp.commands.cli import main
from lightning_lp.recommend.recommender import Recommender
from tests.journeys import QUIET, fit, results

CSV = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=."]
MLFLOW = ["--trainer.logger=MLFlowLogger", "--trainer.logger.tracking_uri=file:./mlruns"]
LEFT = {"checkpoints", "config.yaml", "metrics.csv", "model_card.md", "results.json"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_csv_logger(root, capsys):
    fit(root, *CSV).test_best()
    folder = Path("lightning_logs/version_0")
    assert {path.name for path in folder.iterdir()} == LEFT
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if row["val/auroc"]]
    assert [row["epoch"] for row in measured] == ["0", "1"]
    assert max(float(row["val/auroc"]) for row in measured) == pytest.approx(results(folder)["validation"]["auroc"])
    assert [float(row["test/auroc"]) for row in rows if row["test/auroc"]] == [results(folder)["test"]["auroc"]]
    capsys.readouterr()
    run("recommend", ["--user=1", "--k=2", "--format=csv"])  # the newest run is found
    assert len(capsys.readouterr().out.splitlines()) == 3
    run("update", ["--data.split.num_val=0.1", f"--data.root={root}", *QUIET])
    assert "nothing is new" in capsys.readouterr().out


def test_csv_logger_without_a_folder_is_refused(root, capsys):
    with pytest.raises(SystemExit):
        main(["fit", f"--data.root={root}", "--trainer.logger=CSVLogger"])
    assert "give --trainer.logger.save_dir, too" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:MLFlow only allows")
def test_mlflow_without_a_server(root, monkeypatch):
    pytest.importorskip("mlflow", reason="needs mlflow, or mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    fit(root, *MLFLOW).test_best()
    (metrics,) = Path("mlruns").glob("*/*/metrics")
    # MLflow takes no @ in a name.
    logged = {path.name: float(path.read_text().splitlines()[-1].split()[1]) for path in (metrics / "test").iterdir()}
    folder = metrics.parent / "checkpoints"
    assert {name.replace("@", ""): value for name, value in results(folder)["test"].items()} == pytest.approx(logged)
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "results.json", "model_card.md", "last.ckpt"}
    assert len(Recommender.load(metrics.parent).recommend(1, k=2)) == 2
    main(["fit", "--resume", str(metrics.parent), "--trainer.max_epochs=3"])
    assert results(folder)["timing"]["epochs"] == 3
