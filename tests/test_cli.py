import json
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lightning_lp.__main__ import run
from lightning_lp.callbacks.results import Results
from lightning_lp.commands.cli import main
from lightning_lp.commands.configs import names
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.sources.download import DownloadError
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule
from tests.journeys import QUIET, SMALL, best_checkpoint, fit, results, run_folders, run_script

MONITOR = ["--checkpoint.monitor=val/auroc", "--early_stopping.monitor=val/auroc"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "movies"
    write_movielens(folder, num_users=40, num_movies=60, num_ratings=900, seed=0)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(root)
    return folder / "lightning_logs" / "version_0"


def test_fit_script_trains_and_tests_the_best_checkpoint(root):
    flags = ["--trainer.max_epochs=2", *SMALL]
    assert run_script("fit.py", f"--data.root={root}", *flags, *QUIET) == 0
    (folder,) = run_folders()
    found = results(folder)
    assert found["dataset"]["name"] == "movies"
    assert (found["dataset"]["users"], found["dataset"]["movies"], found["dataset"]["links"]) == (40, 60, 900)
    assert (found["split"]["train_links"], found["split"]["val_links"], found["split"]["test_links"]) == (720, 90, 90)
    assert found["validation"].keys() == found["test"].keys() >= {"auroc", "average_precision", "loss"}
    assert 0.4 < found["test"]["auroc"] < 1
    assert found["timing"]["epochs"] == 2
    assert found["timing"]["links_per_s"] > 0
    assert best_checkpoint(folder).is_file()
    assert not list(folder.glob("*.partial"))


@pytest.mark.slow
def test_results_describe_the_best_checkpoint_not_the_last(root):
    cli = fit(root, "--trainer.max_epochs=6", "--model.lr=0.2", "--early_stopping.patience=9", *MONITOR)
    (folder,) = run_folders()
    logged = scalars(folder, "val/auroc")
    assert results(folder)["validation"]["auroc"] == pytest.approx(max(logged), abs=1e-6)
    assert max(logged) != pytest.approx(logged[-1], abs=1e-6), "the last epoch is the best one: choose another lr"
    assert cli.best_checkpoint == str(best_checkpoint(folder).resolve())


def scalars(folder: Path, tag: str) -> list[float]:
    return [event.value for event in events(folder).Scalars(tag)]


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0, "histograms": 0})
    found.Reload()
    return found


def test_tensorboard_shows_what_the_readme_promises(trained):
    tags = events(trained).Tags()
    wanted = {"train/loss", "train/loss_step", "train/links_per_s", "val/loss", "val/auroc", "val/average_precision"}
    assert wanted | {"train/lr"} <= set(tags["scalars"])
    assert "val/curves" in tags["images"]
    assert {"val/score_of_links", "val/score_of_non_links"} <= set(tags["histograms"])
    assert {"val/precision_recall", "data/text_summary"} <= set(tags["tensors"])
    assert "hp_metric" not in tags["scalars"]
    assert len(scalars(trained, "val/auroc")) == 2  # the validation after the fit is not a third epoch


def test_tensorboard_opens_on_curves(root):
    """After fit and test, no scalar and no figure has a tag of its own beside those of training and validation."""
    assert run_script("fit.py", f"--data.root={root}", "--trainer.max_epochs=2", *SMALL, *QUIET) == 0
    (folder,) = run_folders()
    found, best = events(folder), events(folder / "best")
    cards = {tag for kind in ("scalars", "images", "histograms") for tag in found.Tags()[kind] + best.Tags()[kind]}
    assert {tag.split("/")[0] for tag in cards} == {"epoch", "train", "val"}
    assert "test/precision_recall" in found.Tags()["tensors"]  # it has no card
    measured = results(folder)
    assert set(best.Tags()["scalars"]) == {f"val/{name}" for name in measured["validation"]}
    for name, value in measured["validation"].items():
        (point,) = best.Scalars(f"val/{name}")
        curve = {event.step: event.value for event in found.Scalars(f"val/{name}")}
        assert point.value == pytest.approx(value) == pytest.approx(curve[point.step])
    (table,) = best.Tensors("results/text_summary")
    shown = table.tensor_proto.string_val[0].decode()
    for part in ("validation", "test"):
        assert f"{measured[part]['auroc']:.4f}" in shown


def test_hparams_holds_settings_and_the_best_metrics(trained):
    log = events(trained / "best")
    plugin = {tag: HParamsPluginData.FromString(text) for tag, text in log.PluginTagToContent("hparams").items()}
    settings = plugin["_hparams_/session_start_info"].session_start_info.hparams
    assert settings["hidden_channels"].string_value == "8"
    assert settings["batch_size"].string_value == "64"
    infos = plugin["_hparams_/experiment"].experiment.metric_infos
    assert {info.name.tag for info in infos} == set(log.Tags()["scalars"]) > {"val/auroc", "val/recall@20"}


def test_a_test_alone_is_logged(root, trained):
    main(["test", f"--data.root={root}", f"--ckpt_path={best_checkpoint(trained)}", *QUIET])
    (folder,) = run_folders()
    assert scalars(folder, "test/auroc") == pytest.approx([results(folder)["test"]["auroc"]])
    assert "test/curves" in events(folder).Tags()["images"]
    assert not (folder / "best").exists()


def test_validating_after_a_fit_in_python_gives_the_metrics(root, here):
    data = MovieLensDataModule(root=str(root), batch_size=64)
    sizes = (data.num_users, data.num_movies, data.num_features, data.num_terms, data.max_terms)
    model = LinkPredictionModule(*sizes, hidden_channels=8, spectral_channels=8)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=1, default_root_dir=here, log_every_n_steps=1, **quiet)
    trainer.fit(model, datamodule=data)
    fitted = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    (found,) = trainer.validate(model, datamodule=data, verbose=False)
    assert found.keys() >= {"val/loss", "val/auroc", "val/average_precision", "val/calibration_error"}
    assert found == pytest.approx(fitted, abs=1e-5)
    (tested,) = trainer.test(model, datamodule=data, verbose=False)
    assert scalars(Path(trainer.log_dir), "test/auroc") == pytest.approx([tested["test/auroc"]])
    assert len(scalars(Path(trainer.log_dir), "val/auroc")) == 2  # as plain Lightning has it


@pytest.mark.slow
def test_what_follows_a_fit_is_logged_where_it_is_no_card(root, here):
    """Other loggers than TensorBoard's get the test metrics; and all get them from a test of one's own."""
    loggers = [
        {"class_path": name, "init_args": {"save_dir": str(here)}} for name in ("TensorBoardLogger", "CSVLogger")
    ]
    cli = fit(root, f"--trainer.logger={json.dumps(loggers)}")
    cli.test_best()
    (csv,) = here.rglob("metrics.csv")
    logged = pd.read_csv(csv)
    assert logged["val/auroc"].count() == 2
    assert logged["test/auroc"].count() == 1
    folder = Path(cli.trainer.loggers[0].log_dir)
    assert "test/auroc" not in events(folder).Tags()["scalars"]
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert scalars(folder, "test/auroc")


def test_the_sanity_check_logs_nothing(root, trained, monkeypatch):
    """What was logged and measured when training begins, and what the whole run says with and without the check."""
    before = []

    def look(self: Results, trainer: pl.Trainer, *_: object) -> None:
        trainer.logger.experiment.flush()
        before.append((trainer.sanity_checking, dict(trainer.callback_metrics), events(Path(trainer.log_dir)).Tags()))

    checked = []
    monkeypatch.setattr(Results, "on_train_start", look)
    monkeypatch.setattr(Results, "on_sanity_check_end", lambda *_: checked.append(True), raising=False)
    fit(root, "--trainer.num_sanity_val_steps=2")
    ((sanity_checking, metrics, tags),) = before
    assert checked
    assert not sanity_checking
    assert metrics == {}
    assert tags["scalars"] == tags["images"] == tags["histograms"] == []
    assert tags["tensors"] == ["data/text_summary"]
    (folder,) = run_folders()
    for tag in ("val/auroc", "val/loss", "val/recall@20", "train/loss"):
        assert scalars(folder, tag) == scalars(trained, tag)
    assert results(folder)["validation"] == results(trained)["validation"]


@pytest.mark.slow
def test_the_saved_config_runs_again_to_the_same_figures(trained):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["data"]["batch_size"] == 64
    main(["fit", "--config", str(trained / "config.yaml")])
    main(["fit", "--config", str(trained / "config.yaml")])
    assert [folder.name for folder in run_folders()] == ["version_0", "version_1"]
    again = results(run_folders()[1])
    assert again["validation"] == results(trained)["validation"]
    assert again["split"] == results(trained)["split"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_logger_off_works_twice(root, here):
    for _ in range(2):
        cli = fit(root, "--trainer.logger=false")
    assert not Path("lightning_logs").exists()
    assert not Path("results.json").exists()
    assert Path(cli.best_checkpoint).is_file()


def test_fast_dev_run_keeps_no_checkpoint(root):
    assert run_script("fit.py", f"--data.root={root}", "--trainer.fast_dev_run=1", "--trainer.accelerator=cpu") == 0
    assert not Path("lightning_logs").exists()


def test_validate_and_test_a_checkpoint(root, trained):
    checkpoint = f"--ckpt_path={best_checkpoint(trained)}"
    main(["validate", f"--data.root={root}", checkpoint, *QUIET])
    main(["test", f"--data.root={root}", checkpoint, *QUIET])
    validation, test = run_folders()
    assert results(validation)["validation"] == results(trained)["validation"]
    assert "validation" not in results(test)
    assert 0.4 < results(test)["test"]["auroc"] < 1


def test_predict_keeps_the_files_ids_and_order(root, trained):
    ratings = pd.read_csv(root / "ratings.csv")
    users, movies = ratings.userId[::100].tolist(), ratings.movieId[::-100].tolist()
    rows = [
        f"{movie}{'.0' if i % 2 else ''},note {i},{user}"
        for i, (user, movie) in enumerate(zip(users, movies, strict=True))
    ]
    Path("pairs.csv").write_text("\n".join(["movieId,note,userId", *rows, rows[0]]) + "\n")
    predict = ["predict", f"--data.root={root}", f"--ckpt_path={best_checkpoint(trained)}", *QUIET]
    main([*predict, "--data.predict_file=pairs.csv", "--predictions.path=out/scores.csv", "--data.eval_batch_size=4"])
    scores = pd.read_csv("out/scores.csv", dtype=str)
    pairs = pd.read_csv("pairs.csv", dtype=str)
    assert scores.columns.tolist() == ["userId", "movieId", "probability"]
    assert scores.userId.tolist() == pairs.userId.tolist()
    assert scores.movieId.tolist() == pairs.movieId.tolist()
    probability = scores.probability.astype(float)
    assert probability.between(0, 1).all()
    assert probability.nunique() > 1
    main([*predict, "--data.predict_file=pairs.csv"])
    assert pd.read_csv(run_folders()[-1] / "predictions.csv").shape == scores.shape


def test_predict_leaves_unknown_ids_empty_and_counts_them(root, trained, capsys):
    ratings = pd.read_csv(root / "ratings.csv", dtype=str)
    (user, movie), (other, another) = ratings[["userId", "movieId"]].to_numpy()[[0, -1]].tolist()
    lines = [f"{user},99999", f"{user},{movie}", f",{movie}", f"nobody,{movie}", f"{other},{another}", f"{user},"]
    Path("pairs.csv").write_text("\n".join(["userId,movieId", *lines]) + "\n")
    predict = ["predict", f"--data.root={root}", f"--ckpt_path={best_checkpoint(trained)}", *QUIET]
    capsys.readouterr()
    main([*predict, "--data.predict_file=pairs.csv", "--predictions.path=scores.csv"])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "2 scores written to scores.csv; 4 pairs with unknown ids left empty "
        f"(first: {Path.cwd()}/pairs.csv line 2, column movieId: '99999')"
    )
    written = [line.rpartition(",") for line in Path("scores.csv").read_text().splitlines()]
    assert [pair for pair, _, _ in written[1:]] == lines
    assert [bool(score) for _, _, score in written[1:]] == [False, True, False, False, True, False]
    Path("known.csv").write_text("\n".join(["userId,movieId", lines[1], lines[4]]) + "\n")
    main([*predict, "--data.predict_file=known.csv", "--predictions.path=two.csv"])
    two = pd.read_csv("two.csv").probability.tolist()
    assert pd.read_csv("scores.csv").probability.dropna().tolist() == pytest.approx(two, abs=1e-6)
    Path("none.csv").write_text("userId,movieId\nnobody,1\n")
    with pytest.raises(UserError, match="of no pair are user and movie both known"):
        main([*predict, "--data.predict_file=none.csv"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU")  # Lightning takes bfloat16 there
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(root, precision):
    fit(root, f"--trainer.precision={precision}")
    assert 0.4 < results(run_folders()[0])["validation"]["auroc"] < 1


@pytest.mark.slow
def test_workers_change_nothing(root):
    fit(root)
    fit(root, "--data.num_workers=2")
    assert results(run_folders()[0])["validation"] == results(run_folders()[1])["validation"]


@pytest.mark.slow
@pytest.mark.parametrize("config", names())
def test_shipped_configs_run(root, config):
    flags = [f"--data.root={root}", "--trainer.max_epochs=1", "--trainer.log_every_n_steps=1", *QUIET]
    main(["fit", "--config", config, *flags])
    assert results(run_folders()[0])["validation"]["auroc"] > 0


def test_default_config_states_the_defaults(root, capsys):
    printed = []
    for flags in (["--config", "default"], []):
        with pytest.raises(SystemExit):
            main(["fit", *flags, "--print_config"])
        printed.append(yaml.safe_load(capsys.readouterr().out))
    assert printed[0] == printed[1]


@pytest.mark.slow
def test_seed_everything_does_not_change_the_split(root):
    fit(root, "--seed_everything=1")
    fit(root, "--seed_everything=2")
    first, second = map(results, run_folders())
    assert first["split"] == second["split"]
    assert first["validation"] != second["validation"]


@pytest.mark.slow
def test_without_data_or_network_the_sample_says_so(monkeypatch, here, caplog):
    monkeypatch.setenv("LIGHTNING_LP_CACHE", str(here / "cache"))

    def fail(*args: object, **kwargs: object) -> None:
        raise DownloadError("no network")

    monkeypatch.setattr("lightning_lp.data.sources.locate.fetch", fail)
    main(["fit", "--trainer.fast_dev_run=1", "--trainer.accelerator=cpu"])
    assert "NOT MovieLens" in caplog.text


MISTAKES = {
    "no such folder": (["fit", "--data.root=nowhere"], "nowhere not found"),
    "two sources": (["fit", "--data.root=x", "--data.dataset=ml-1m"], "give one of them"),
    "unknown data set": (["fit", "--data.dataset=ml-3m"], "known data sets are ml-latest-small"),
    "batch size": (["fit", "--data.batch_size=0"], "--data.batch_size 0: 1 or more"),
    "leak": (["fit", "--data.sampling.exclude_seed_links=false"], "the very links that it is to predict"),
    "hops": (["fit", "--data.sampling.num_neighbors=[]"], "--data.sampling.num_neighbors []"),
    "other hops": (
        ["fit", "--data.root={root}", "--data.sampling.eval_num_neighbors=[1,2]"],
        "is for 2 hops, and the encoder",
    ),
    "wrong flag": (["fit", "--data.rot=x"], "did you mean --data.root?"),
    "part of a flag": (["fit", "--resum"], "did you mean --resume?"),
    "wrong value": (["fit", "--data.split.strategy=latest"], "random"),
    "wrong command": (["fitt"], "there is no command fitt; did you mean fit?"),
    "no command": ([], "a command is wanted; all commands: lightning-lp --help"),
    "no model": (["test"], "test needs a trained model"),
    "no checkpoint": (["test", "--ckpt_path=none.ckpt"], "none.ckpt: no such file"),
    "no pairs": (["predict", "--data.root={root}", "--ckpt_path={checkpoint}"], "--data.predict_file"),
    "fixed option": (
        ["test", "--data.root={root}", "--ckpt_path={checkpoint}", "--model.lr=0.5"],
        "trained with 0.002",
    ),
    "no GPU": (["fit", "--data.root={root}", "--trainer.accelerator=gpu"], "gpu"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence_and_status_2(mistake, root, trained, capsys):
    if mistake == "no GPU" and torch.cuda.is_available():
        pytest.skip("there is one")
    args, message = MISTAKES[mistake]
    with pytest.raises(SystemExit) as end:
        run(args=[arg.format(root=root, checkpoint=best_checkpoint(trained)) for arg in args])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert (
        message in next(line for line in error.splitlines() if line.startswith("error: ")) + error.split("error: ")[1]
    )


def test_a_damaged_checkpoint_is_refused(root, trained, here, capsys):
    content = best_checkpoint(trained).read_bytes()
    for name, damaged in {"cut": content[:1000], "text": b"hello", "empty": b""}.items():
        Path(name).write_bytes(damaged)
        with pytest.raises(SystemExit):
            run(args=["test", f"--data.root={root}", f"--ckpt_path={name}"])
        assert f"{name} is not a checkpoint" in capsys.readouterr().err


def test_a_checkpoint_is_refused_on_other_data(root, trained, here, capsys):
    ratings, movies = pd.read_csv(root / "ratings.csv"), pd.read_csv(root / "movies.csv")
    more_users = pd.concat([ratings, ratings[:6].assign(userId=999)])
    variants = {
        "user": (movies, more_users, [], "users: 1 new (999), 0 gone; name the data"),
        "rating": (movies, ratings[1:], [], "links (user, movie): 0 new, 1 gone (("),
        "genre": (movies.assign(genres=["Silent", *movies.genres[1:]]), ratings, [], "genres: 1 new (Silent), 0 gone"),
        "split": (movies, ratings, ["--data.split.seed=1"], "another split"),
    }
    for name, (its_movies, its_ratings, flags, message) in variants.items():
        folder = here / name
        folder.mkdir()
        its_movies.to_csv(folder / "movies.csv", index=False)
        its_ratings.to_csv(folder / "ratings.csv", index=False)
        with pytest.raises(SystemExit):
            run(args=["test", f"--data.root={folder}", f"--ckpt_path={best_checkpoint(trained)}", *QUIET, *flags])
        assert message in capsys.readouterr().err


def test_checkpoints_load_without_running_code(trained):
    state = torch.load(best_checkpoint(trained), weights_only=True)["MovieLensDataModule"]
    assert len(state["titles"]) == len(state["movies"]) == 60
    assert state["links"].shape == (2, 900)
