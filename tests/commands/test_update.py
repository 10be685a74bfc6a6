"""``lightning-lp update``: what is new joins a run, and nothing of the run is lost or changed."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lightning_lp.__main__ import run
from lightning_lp.checkpointing.finding import load_encoder
from lightning_lp.checkpointing.runs import load_run
from lightning_lp.commands import updating
from lightning_lp.commands.cli import main
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.recommend.recommender import Recommender
from tests.journeys import QUIET, SAGE, SMALL, best_checkpoint, fit, results, run_folders
from tests.killing import send_signal
from tests.test_run_folders import sums

TABLES = ("ratings", "movies")
BY_TIME = ["--config=next", "--model.encoder.transition_channels=8", "--data.split.strategy=leave_last_out"]


@pytest.fixture
def grown(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ``then``, with a part of the ratings of the folder ``now``, without some users and movies."""
    monkeypatch.chdir(tmp_path)
    ratings, movies = (pd.read_csv(root / f"{name}.csv") for name in TABLES)
    then = np.random.default_rng(0).random(len(ratings)) < 0.85
    then &= ~ratings.userId.isin([3, 7]) & ~ratings.movieId.isin(movies.movieId[[2, 11]])
    write(tmp_path / "then", ratings[then], movies.drop(index=[2, 11]))
    write(tmp_path / "now", ratings, movies)
    return tmp_path


def write(folder: Path, *tables: pd.DataFrame) -> None:
    folder.mkdir()
    for name, table in zip(TABLES, tables, strict=True):
        table.to_csv(folder / f"{name}.csv", index=False)


def update(*flags: str) -> None:
    run("update", ["--trainer.max_epochs=1", *flags, *QUIET])


def changed(folder: Path) -> dict[str, Any]:
    return results(folder)["update"]


def test_what_is_new_joins_and_the_run_stays_as_it_was(grown, capsys):
    fit(grown / "then")
    before = sums(grown / "lightning_logs" / "version_0")
    capsys.readouterr()
    update("--run=lightning_logs/version_0", f"--data.root={grown / 'now'}")
    said = capsys.readouterr().out
    old, new = run_folders()
    assert sums(grown / "lightning_logs" / "version_0") == before
    found = changed(new)
    ratings = {name: pd.read_csv(grown / name / "ratings.csv") for name in ("then", "now")}
    assert found["links"] == len(ratings["now"]) - len(ratings["then"]) > 100
    assert (found["users"], found["movies"], found["links_gone"]) == (2, 2, 0)
    assert f"{found['links']} ratings, 2 users, 2 movies new" in said
    assert "gone" not in said
    assert set(found["validation_before"]) == {"auroc", "recall@20", "ndcg@20"}
    assert "validation, the same links" in said
    # Known ids have the places that they had.
    states = [load_encoder(folder)[1] for folder in (old, new)]
    for kind in ("users", "movies"):
        then, now = (state[kind].tolist() for state in states)
        assert now[: len(then)] == then
    assert {3, 7} == set(states[1]["users"].tolist()[-2:])
    # It is a run as any other.
    assert len(Recommender.load(new).recommend(3, k=4)) == 4
    flags = [f"--config={new / 'config.yaml'}", f"--ckpt_path={best_checkpoint(new)}"]
    main(["validate", *flags, "--trainer.logger=false"])
    assert load_run(new)[0].split.fingerprint == results(new)["split"]["fingerprint"]
    # The config file begins the same update again.
    main(["fit", f"--config={new / 'config.yaml'}"])
    weights = [torch.load(best_checkpoint(folder))["state_dict"] for folder in run_folders()[1:]]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_an_update_outlives_the_run_that_it_updated(grown):
    fit(grown / "then")
    update(f"--data.root={grown / 'now'}")
    config = (grown / "lightning_logs" / "version_1" / "config.yaml").read_text()
    shutil.rmtree("lightning_logs/version_0")
    moved = grown / "elsewhere" / "run"
    shutil.move("lightning_logs/version_1", moved)
    data, _ = load_run(moved)
    again = MovieLensDataModule.load_from_checkpoint(best_checkpoint(moved))
    again.load_state_dict(data.state_dict())
    assert data.split.fingerprint == results(moved)["split"]["fingerprint"]
    main(["validate", f"--data.root={grown / 'now'}", f"--ckpt_path={best_checkpoint(moved)}", *QUIET])
    main(["fit", "--resume", str(moved), "--trainer.max_epochs=3"])
    assert results(moved)["timing"]["epochs"] == 3
    assert changed(moved)["users"] == 2
    assert yaml.safe_load((moved / "config.yaml").read_text())["data"] == yaml.safe_load(config)["data"]
    assert changed_rows(moved, grown / "more")


def changed_rows(previous: Path, folder: Path) -> dict[str, Any]:
    """Updates a run with one rating by a new user."""
    tables = [pd.read_csv(folder.parent / "now" / f"{name}.csv") for name in TABLES]
    tables[0] = pd.concat([tables[0], tables[0][:1].assign(userId=10**6)])
    write(folder, *tables)
    update(f"--run={previous}", f"--data.root={folder}")
    found = changed(run_folders()[-1])
    assert (found["links"], found["users"], found["movies"]) == (1, 1, 0)
    return found


@pytest.mark.slow
def test_a_killed_update_goes_on_bit_for_bit(grown):
    fit(grown / "then")
    flags = ["--run=lightning_logs/version_0", f"--data.root={grown / 'now'}", "--trainer.max_epochs=2"]
    update(*flags)
    with pytest.MonkeyPatch.context() as patch:
        send_signal(patch, 60, signal.SIGTERM)
        with pytest.raises(SystemExit):
            update(*flags)
    assert 0 < torch.load("lightning_logs/version_2/checkpoints/last.ckpt")["global_step"] < 20
    shutil.rmtree("lightning_logs/version_0")
    main(["fit", "--resume", "lightning_logs/version_2"])
    whole, again = (
        torch.load(Path("lightning_logs", name, "checkpoints/last.ckpt")) for name in ("version_1", "version_2")
    )
    assert whole["global_step"] == again["global_step"]
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, again["state_dict"][name]), name


def test_nothing_new_is_said_and_nothing_written(grown, capsys):
    fit(grown / "then")
    before = sums(grown / "lightning_logs")
    capsys.readouterr()
    update()
    assert capsys.readouterr().out.endswith(
        f"nothing is new since {grown / 'lightning_logs' / 'version_0'}: it stays as it is\n"
    )
    assert sums(grown / "lightning_logs") == before


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """The sentence with which an update is refused, which leaves no folder."""

    def sentence(*flags: str) -> str:
        before = sums(Path("lightning_logs"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            update(*flags)
        assert end.value.code == 2
        assert sums(Path("lightning_logs")) == before
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    return sentence


@pytest.mark.slow
def test_what_cannot_be_updated_is_refused(grown, refused):
    fit(
        grown / "then",
        "--checkpoint.dirpath=lightning_logs/kept",
        "--trainer.logger=TensorBoardLogger",
        "--trainer.logger.save_dir=.",
        "--trainer.logger.version=0",
    )
    ratings, movies = (pd.read_csv(grown / "now" / f"{name}.csv") for name in TABLES)
    write(grown / "other", ratings.assign(movieId=-ratings.movieId), movies.assign(movieId=-movies.movieId))
    assert "that is other data" in refused(f"--data.root={grown / 'other'}")
    now = f"--data.root={grown / 'now'}"
    assert "the update would be written into" in refused(now)
    anew = "--trainer.logger.version=1"
    assert "the update would keep its checkpoints in" in refused(now, anew)
    own = [now, anew, "--checkpoint.dirpath=null"]
    assert "the encoder is sage, and that of" in refused(*own, *SAGE)
    assert "of the encoder is (60, 16) here and (58, 8) in" in refused(*own, "--model.encoder.hidden_channels=16")
    assert "goes on with lightning-lp fit --resume RUN" in refused(*own, "--resume")
    (grown / "lightning_logs/version_0/config.yaml").unlink()
    assert "holds no config.yaml" in refused(*own)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        SAGE,
        ["--model.encoder=lightgcn"],
        ["--model.encoder=hgt"],
        ["--model.encoder=tests.model.test_conformance.Own"],
        BY_TIME,
    ],
    ids=["sage", "lightgcn", "hgt", "own", "sequence"],
)
def test_any_encoder_goes_on_from_its_weights(grown, flags):
    small = [flag for flag in SMALL if "spectral" not in flag or flags is BY_TIME]
    main(["fit", f"--data.root={grown / 'then'}", "--trainer.max_epochs=1", *QUIET, *flags, *small], then_test=True)
    update(f"--data.root={grown / 'now'}", "--model.lr=1e-15", "--model.weight_decay=0")
    states = [load_encoder(folder) for folder in run_folders()]
    (then, now), name = (module.state_dict() for module, _ in states), "movie_emb.weight"
    assert torch.equal(now[name][: len(then[name])], then[name])
    assert now[name][len(then[name]) :].ne(0).all()
    assert set(changed(run_folders()[1])["validation_before"]) == {"auroc", "recall@20", "ndcg@20"}


@pytest.mark.slow
def test_a_split_by_time_says_what_stays_in_training(grown, capsys):
    main(["fit", f"--data.root={grown / 'now'}", "--trainer.max_epochs=1", *QUIET, *BY_TIME, *SMALL], then_test=True)
    ratings, movies = (pd.read_csv(grown / "now" / f"{name}.csv") for name in TABLES)
    last = (ratings.groupby("userId").timestamp.transform("max") == ratings.timestamp) & (ratings.userId % 2 == 0)
    write(grown / "less", ratings[~last], movies)  # what was trained on has become the last
    update(f"--data.root={grown / 'less'}")
    found, said = changed(run_folders()[1]), capsys.readouterr().out
    assert found["links_gone"] == int(last.sum())
    assert found["links_kept"] == 20
    assert f"{found['links_kept']} links that the split would hold out were trained on, or came before such" in said
    assert f"gone: {found['links_gone']} ratings, 0 users, 0 movies" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        [],
        SAGE,
        BY_TIME,
        [*BY_TIME, "--data.split.strategy=temporal", "--data.split.history=rolling"],
    ],
    ids=["history", "sage", "sequence", "rolling"],
)
def test_before_is_what_the_run_said_of_itself(grown, flags):
    """A movie that nobody has rated changes no list of the model that does not know it."""
    small = [flag for flag in SMALL if "spectral" not in flag or flags is not SAGE]
    main(["fit", f"--data.root={grown / 'then'}", "--trainer.max_epochs=1", *QUIET, *flags, *small], then_test=True)
    ratings, movies = (pd.read_csv(grown / "then" / f"{name}.csv") for name in TABLES)
    new = pd.DataFrame({"movieId": [0], "title": ["Never seen (2020)"], "genres": ["Drama"]})
    write(grown / "more", ratings, pd.concat([new, movies]))
    update(f"--data.root={grown / 'more'}")
    said, found = results(run_folders()[0])["validation"], changed(run_folders()[1])
    assert {name: found[name] for name in ("links", "users", "movies")} == {"links": 0, "users": 0, "movies": 1}
    for name in ("recall@20", "ndcg@20"):
        assert found["validation_before"][name] == pytest.approx(said[name], abs=1e-6)
    assert found["validation_before"]["auroc"] == pytest.approx(said["auroc"], abs=0.1)  # of other non-links


@pytest.mark.slow
def test_it_says_whether_the_model_is_better(grown, capsys, monkeypatch):
    fit(grown / "then")
    monkeypatch.setattr(updating, "measured_before", lambda *_: {"auroc": 0.0, "recall@20": 1.1, "ndcg@20": 0.5})
    capsys.readouterr()
    update(f"--data.root={grown / 'now'}", "--data.split.num_val=0.2")
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if len(line.split()) == 4}
    assert (rows["auroc"][0], rows["auroc"][-1]) == ("0.0000", "better")
    assert (rows["recall@20"][0], rows["recall@20"][-1]) == ("1.1000", "worse")


@pytest.mark.parametrize("is_first", [True, False])
def test_one_of_several_processes_says_it(is_first, capsys):
    told = {"update": {"validation_before": {"auroc": 0.5}}, "validation": {"auroc": 0.6}}
    cli = SimpleNamespace(results=SimpleNamespace(results=told), trainer=SimpleNamespace(is_global_zero=is_first))
    updating.UpdateCLI.show_update(cli)
    assert ("the same links" in capsys.readouterr().out) == is_first


@pytest.mark.slow
def test_without_validation_nothing_is_compared(grown, capsys):
    fit(grown / "then")
    update(f"--data.root={grown / 'now'}", "--data.split.num_val=0", "--data.split.num_test=0")
    found = results(run_folders()[1])
    assert found["split"]["val_links"] == found["split"]["test_links"] == 0
    assert found["update"]["validation_before"] == {}
    assert "the same links" not in capsys.readouterr().out
