import math
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import matplotlib.image
import optuna
import pandas as pd
import pytest
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from lightning_lp.commands.cli import settings_of
from lightning_lp.commands.configs import packaged
from lightning_lp.commands.tune import search as tuning
from lightning_lp.commands.tune.search import SPACE, measure, search, space_of, start_of
from lightning_lp.commands.tune.study import best_of, finished_of, opened, prepare, queue_again
from lightning_lp.commands.tune.summary import show, with_params, write_summary
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.registry import make_encoder, spec_of
from lightning_lp.model.settings import check_model
from tests.forks import Fork, run_fork
from tests.journeys import QUIET, SCRIPTS, results, run_folders, run_script

SMALL = [
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--model.encoder.spectral_channels=8",
    "--data.batch_size=64",
]
STUDY = Path("lightning_logs/tune/study.db")
SEARCHED = SPACE.keys() - {"weight_decay"}
"""By default: that follows from the data."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def settings(root: Path) -> dict:
    return settings_of([f"--data.root={root}", *SMALL])


def trials(path: Path = STUDY) -> list[optuna.trial.FrozenTrial]:
    """All trials in a study's file."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        return optuna.load_study(study_name="tune", storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


def running_trial() -> int:
    """Number of the trial that another process trains, or 0. Stopped while it is drawn, it is drawn anew."""
    training = (
        "SELECT max(number) FROM trials WHERE state = 'RUNNING' AND "
        "(SELECT count(*) FROM trial_params WHERE trial_params.trial_id = trials.trial_id) = ?"
    )
    try:
        with closing(sqlite3.connect(f"file:{STUDY}?mode=ro", uri=True)) as database:
            (found,) = database.execute(training, [len(SEARCHED)]).fetchone()
            return found or 0
    except sqlite3.OperationalError:  # there is no file yet, or no table
        return 0


def finished(found: list[optuna.trial.FrozenTrial]) -> list[tuple[dict, float | None]]:
    return [(trial.params, trial.value) for trial in found if trial.state == TrialState.COMPLETE]


def fake(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> None:
    """Measures without training; stops at a call like a process that is killed, without any clearing up."""
    calls = iter(range(1000))

    def measured(settings: dict, seed: int, metric: str) -> float:
        if next(calls) == stop_at:
            raise SystemExit(137)
        return settings["model"]["encoder"]["init_args"]["dropout"] + 0.01 * seed

    monkeypatch.setattr(tuning, "measure", measured)


@pytest.mark.slow
def test_journey(root, monkeypatch, capsys):
    def forbidden(self: MovieLensDataModule) -> None:
        raise AssertionError("test is not to be looked at")

    flags = ["--trials=2", f"--data.root={root}", *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(MovieLensDataModule, "test_dataloader", forbidden)
        assert run_script("tune.py", *flags) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    first, second = trials()
    assert first.params == start_of(yaml.safe_load(packaged("default").read_text())["model"])
    assert second.params.keys() == SEARCHED

    assert sorted(path.name for path in STUDY.parent.iterdir() if path.name[0] != ".") == [
        *("best.yaml", "importance.png", "study.db", "trials.csv")
    ]
    table = pd.read_csv(STUDY.parent / "trials.csv")
    assert table["state"].tolist() == ["complete", "complete"]
    assert table["lr"].tolist() == pytest.approx([first.params["lr"], second.params["lr"]])
    means = table[["ndcg@20_seed_0", "ndcg@20_seed_1"]].mean(axis=1)
    assert table["ndcg@20"].tolist() == pytest.approx(means.tolist())
    assert f"{table['ndcg@20'].max():.4f}" in out
    assert matplotlib.image.imread(STUDY.parent / "importance.png").shape[1] > 500

    assert run_script("fit.py", "--config", str(STUDY.parent / "best.yaml"), *QUIET) == 0
    folders = [path for path in run_folders_but_tune() if (path / "results.json").exists()]
    best = table.loc[table["ndcg@20"].idxmax()]
    assert results(folders[-1])["validation"]["ndcg@20"] == pytest.approx(best["ndcg@20_seed_0"], abs=1e-6)

    capsys.readouterr()
    assert run_script("tune.py", *flags) == 0, "nothing is left to do"
    assert finished(trials()) == finished([first, second])
    for flag, name in (
        ("--data.split.strategy=temporal", "data.split.strategy is temporal"),
        ("--seeds=1", "seeds is [1]"),
    ):
        assert run_script("tune.py", *flags, flag) == 2
        assert f"error: {name}, and the trials of the study have " in capsys.readouterr().err


def run_folders_but_tune() -> list[Path]:
    """``run_folders`` among which the study's folder lies."""
    STUDY.parent.rename("tune")
    try:
        return run_folders()
    finally:
        Path("tune").rename(STUDY.parent)


def test_every_bound_is_allowed_and_differs_from_the_others():
    settings = yaml.safe_load(packaged("default").read_text())
    for name, distribution in SPACE.items():
        is_choice = isinstance(distribution, CategoricalDistribution)
        bounds = distribution.choices if is_choice else (distribution.low, distribution.high)
        changed = [with_params(settings, {name: bound})["model"] for bound in bounds]
        assert len({str(model) for model in changed}) == len(bounds)
        for model in changed:
            check_model(model)
            make_encoder(model["encoder"])
    assert settings == yaml.safe_load(packaged("default").read_text()), "a copy is changed"


@pytest.mark.parametrize("encoder", ["history", "sage"])
def test_the_start_is_the_settings_or_the_nearest_point(encoder):
    spec = spec_of(make_encoder(encoder))
    model = yaml.safe_load(packaged("default").read_text())["model"] | {"encoder": spec}
    start = start_of(model)
    assert with_params({"model": model}, start) == {"model": model}, "the default settings are a point of the space"
    wide = spec | {"init_args": spec["init_args"] | {"hidden_channels": 1000}}
    far = start_of(model | {"weight_decay": 0.0, "encoder": wide})
    assert (far["weight_decay"], far["hidden_channels"]) == (1e-5, 256)
    assert start.keys() == space_of(model).keys() == far.keys() - {"weight_decay"}


def test_a_start_outside_the_space_is_told(root, monkeypatch, capsys):
    fake(monkeypatch)
    assert run_script("tune.py", "--trials=1", f"--data.root={root}", "--model.encoder.hidden_channels=8") == 0
    assert "hidden_channels 8 is not searched: the first trial has 64" in capsys.readouterr().err


def test_what_is_not_read_is_not_searched():
    tutorial = settings_of(["--config=tutorial"])["model"]
    assert list(space_of(tutorial)) == ["lr", "weight_decay", "hidden_channels"]
    model = settings_of(["--model.encoder.spectral_channels=0", '--model.losses={"softmax": 1}'])
    left = set(SPACE) - set(space_of(model["model"]))
    assert left == {"losses.bce", "weight_decay"}, "it follows from the data"


@pytest.mark.slow
def test_temperature_changes_no_ranking_and_is_not_searched(settings):
    once = settings | {"trainer": settings["trainer"] | {"max_epochs": 1}}  # which epoch has the best AUROC may change
    values = {measure(with_params(once, {"temperature": value}), 0) for value in (0.5, 1.5, 4.0)}
    assert max(values) - min(values) < 1e-6
    assert min(values) > 0
    assert not {"temperature", "spectral_weight", "spectral_l2"} & set(SPACE)  # what changes no ranking or is chosen


def search_file(path: Path, settings: dict, count: int = 4) -> None:
    with opened(path) as study:
        prepare(study, start_of(settings["model"]), settings)
        search(study, settings, count, [0, 1])


@pytest.mark.slow
def test_continued_search_is_the_one_that_was_never_stopped(settings, monkeypatch):
    whole, stopped = Path("whole.db"), Path("stopped.db")
    fake(monkeypatch)
    search_file(whole, settings)
    for stop_at in (1, 4, 3):  # in the first trial, the third and, continued from there, the fourth
        fake(monkeypatch, stop_at)
        with pytest.raises(SystemExit):
            search_file(stopped, settings)
        assert trials(stopped)[-1].state == TrialState.RUNNING
    fake(monkeypatch)
    search_file(stopped, settings)
    found = trials(stopped)
    assert finished(found) == finished(trials(whole))
    assert len(finished(found)) == 4
    assert [trial.state for trial in found].count(TrialState.FAIL) == 3
    assert {trial.state for trial in found} == {TrialState.FAIL, TrialState.COMPLETE}


def test_a_trial_is_queued_again_once(settings):
    with opened(STUDY) as study:
        prepare(study, start_of(settings["model"]), settings)
        running = study.ask(SPACE)
        # Killed between the two steps of `queue_again`:
        study.enqueue_trial(running.params, user_attrs={"start": True, "retry_of": 0})
        for _ in range(3):
            queue_again(study)
        assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
        again = study.ask(SPACE)
        assert again.params == running.params
        queue_again(study)
        assert [trial.user_attrs.get("retry_of") for trial in study.trials] == [None, 0, 1]
        assert all(trial.user_attrs["start"] for trial in study.trials)


def test_settings_may_change_while_no_trial_is_finished(settings, monkeypatch):
    fake(monkeypatch)
    start, other = start_of(settings["model"]), settings | {"data": {**settings["data"], "root": "elsewhere"}}
    with opened(STUDY) as study:
        prepare(study, start | {"lr": 0.002}, other)
        study.ask(SPACE)
    with opened(STUDY) as study:
        queue_again(study)
        prepare(study, start, settings)
        search(study, settings, 1, [0])
        (trial,) = (trial for trial in study.trials if trial.state == TrialState.COMPLETE)
        assert trial.params == start
        assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 2
        prepare(study, start, settings | {"trainer": {**settings["trainer"], "accelerator": "auto"}})
        with pytest.raises(UserError, match=r"data.root is elsewhere, and the trials of the study have /"):
            prepare(study, start, other)


def test_a_metric_that_is_better_when_small(settings, monkeypatch, capsys, tmp_path):
    fake(monkeypatch)
    study_file = Path("loss.db")
    with opened(study_file, "loss") as study:
        prepare(study, start_of(settings["model"]), {"metric": "loss", **settings})
        search(study, settings, 4, [0, 1], "loss")
        found = finished_of(study)
        assert best_of(study).value == min(trial.value for trial in found) < found[-1].value
        assert [trial.value for trial in found] == sorted(trial.value for trial in found)
        assert best_of(study).value == study.best_value
        show(study, [0, 1], "loss")
        assert "validation loss, mean of seeds 0, 1: the best of 4 trials" in capsys.readouterr().out
        write_summary(study, settings, tmp_path, [0, 1], "loss")
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())["model"]["encoder"]["init_args"]
    assert best["dropout"] == found[0].params["dropout"]
    table = pd.read_csv(tmp_path / "trials.csv")
    assert table["loss"].min() == pytest.approx(found[0].value)
    assert {"loss_seed_0", "loss_seed_1"} <= set(table.columns)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("loss", "auroc"), ("auroc", "loss"), ("ndcg@20", "recall@20")])
def test_a_study_is_not_continued_for_another_metric(first, second, root, monkeypatch, capsys):
    fake(monkeypatch)
    flags = [f"--data.root={root}", *SMALL, "--seeds=0"]
    assert run_script("tune.py", *flags, "--trials=1", f"--metric={first}") == 0
    assert run_script("tune.py", *flags, "--trials=2", f"--metric={second}") == 2
    assert f"error: metric is {second}, and the trials of the study have {first}: give" in capsys.readouterr().err
    assert run_script("tune.py", *flags, "--trials=2", f"--metric={first}") == 0
    assert len(finished(trials())) == 2


def test_a_study_of_before_there_was_a_choice_is_one_of_ndcg(settings, monkeypatch):
    fake(monkeypatch)
    start = start_of(settings["model"])
    with opened(STUDY) as study:
        prepare(study, start, settings)
        search(study, settings, 1, [0])
    with opened(STUDY) as study:
        prepare(study, start, {"metric": "ndcg@20", **settings})
        with pytest.raises(UserError, match="metric is auroc, and the trials of the study have ndcg@20"):
            prepare(study, start, {"metric": "auroc", **settings})


@pytest.mark.slow
def test_any_metric_of_validation_can_be_measured(settings):
    once = settings | {"trainer": settings["trainer"] | {"max_epochs": 1}}
    loss, auroc = (measure(once, 0, metric) for metric in ("loss", "auroc"))
    assert loss != auroc
    assert 0.4 < auroc < 1
    once["trainer"]["limit_val_batches"] = 0
    with pytest.raises(UserError, match="--metric loss has no value on the validation part"):
        measure(once, 0, "loss")


def test_a_diverged_trial_is_worth_nothing_and_other_mistakes_stop(settings, monkeypatch):
    def refuse(args: list[str]) -> None:
        raise UserError(message)

    monkeypatch.setattr(tuning, "main", refuse)
    message = "the training loss is nan at step 3"
    assert measure(settings, 0) == 0
    assert measure(settings, 0, "calibration_error") == math.inf
    message = "no folder"
    with pytest.raises(UserError, match="no folder"):
        measure(settings, 0)


def test_divergence_is_told_in_the_words_that_are_looked_for(settings):
    broken = with_params(settings, {"lr": 1e30, "lr_schedule": "constant"})
    broken["trainer"]["max_epochs"] = 6
    assert measure(broken, 0) == 0


def test_report_of_many_trials_fits_the_terminal(settings, capsys, tmp_path):
    study = optuna.create_study(direction="maximize")
    for i in range(12):
        params = dict.fromkeys(SPACE, 1.23456e-5 * (i + 1)) | {"hidden_channels": 64}
        space = {name: optuna.distributions.FloatDistribution(0, 200) for name in SPACE}
        start = {"start": True} if i == 0 else {}
        study.add_trial(create_trial(params=params, distributions=space, value=i / 100, user_attrs=start))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"retry_of": 3}))
    show(study, [0, 1])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "validation ndcg@20, mean of seeds 0, 1: the best of 12 trials" in out
    (head,) = (line for line in out.splitlines() if line.split()[:1] == ["trial"])
    assert head.split()[1:] == ["11", "10", "9", "8", "7", "start"]
    write_summary(study, settings, tmp_path, [0, 1])
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 13
    assert (tmp_path / "best.yaml").read_text().startswith("# Trial 11 of 12 finished ones: validation ndcg@20, mean")


def mistakes() -> Iterator[tuple[list[str], str]]:
    yield ["--trials=0"], "--trials 0: 1 or more wanted"
    yield ["--trials=x"], "argument --trials: invalid int value"
    yield ["--seeds", "0", "0"], "--seeds 0 0: different numbers"
    yield ["--seeds", "-1"], "--seeds -1: different numbers, 0 or more"
    yield ["--seed_everything=3"], "--seed_everything has no place in a search"
    yield ["--ckpt_path", "last"], "--ckpt_path has no place in a search"
    yield ["--trainer.devices=2"], "--trainer.devices 2: a search trains on one device"
    yield ["--model.hiden_channels=3"], "did you mean --model.encoder.hidden_channels?"
    yield ["--model.lr=-1"], "--model.lr -1.0: more than 0 wanted"
    yield ["--metric=ndcg"], "argument --metric: invalid choice: 'ndcg' (choose from 'loss', 'auroc'"
    yield ["--data.root=nowhere"], "nowhere"
    yield ["--data.split.num_val=0"], "--data.split.num_val 0: a search needs validation"
    yield ["--data.split_seed=1"], "--data.split_seed has no place in a search"
    yield ["--study=folder"], "--study folder is a folder"
    yield ["--study=text.txt"], "--study text.txt is no study, or is damaged"
    yield ["--study=text.txt/study.db"], "text.txt"
    yield ["--config=missing.yaml"], "missing.yaml"


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "message"), list(mistakes()))
def test_mistakes_get_one_sentence(flags, message, root, capsys):
    Path("folder").mkdir()
    Path("text.txt").write_text("no database, but a text that is long enough to be looked at" * 20)
    assert run_script("tune.py", f"--data.root={root}", *SMALL, "--trials=1", *flags) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_one_search_at_a_time(root, capsys):
    with opened(STUDY):
        assert run_script("tune.py", f"--data.root={root}", *SMALL) == 2
    assert "another search is writing to it" in capsys.readouterr().err


def test_without_optuna(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "lightning_lp.commands.tune.search")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run_script("tune.py") == 2
    assert "error: tune needs Optuna: pip install" in capsys.readouterr().err


@pytest.fixture(scope="module")
def searched(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict, float | None]]:
    """The finished trials of a search that was never stopped."""
    study = tmp_path_factory.mktemp("searched") / "study.db"
    assert run_script("tune.py", *three_trials(root), f"--study={study}") == 0
    return finished(trials(study))


def three_trials(root: Path) -> list[str]:
    return [
        "--trials=3",
        "--seeds=0",
        f"--data.root={root}",
        *SMALL,
        "--trainer.logger=false",
        "--trainer.max_epochs=9",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_process_goes_on(how, status, root, searched, capfd):
    command = [sys.executable, str(SCRIPTS / "tune.py"), *three_trials(root)]
    process = Fork(command)
    end = time.monotonic() + 120
    while running_trial() < 1 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait(120) == status
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    before = trials()
    stopped = TrialState.RUNNING if how == signal.SIGKILL else TrialState.FAIL
    (running,) = (trial.number for trial in before if trial.state == stopped)  # on a busy machine a later one, maybe
    assert running > 0
    assert ("best.yaml" in out) == (how != signal.SIGKILL)

    assert run_fork(command).returncode == 0
    found = trials()
    assert len(finished(found)) == 3
    assert finished(found)[: len(finished(before))] == finished(before), "nothing is lost"
    assert len({str(params) for params, _ in finished(found)}) == 3, "nothing is repeated"
    assert found[running].state == TrialState.FAIL
    (again,) = (trial for trial in found if trial.user_attrs.get("retry_of") == running)
    assert again.state == TrialState.COMPLETE
    assert again.params.items() >= found[running].params.items(), "it was stopped before all were chosen"
    assert finished(found) == searched
