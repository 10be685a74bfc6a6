"""A run goes on in its own folder whatever logger it has, and nothing of another run is touched."""

import hashlib
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_lp.checkpointing.finding import find_checkpoint, newest_run
from lightning_lp.commands.cli import main
from lightning_lp.errors import UserError
from lightning_lp.recommend.recommender import Recommender
from tests.journeys import QUIET, SMALL, fit, results, run_script
from tests.killing import send_signal

TENSORBOARD = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=runs"]
TWO = """
trainer:
  logger:
    - class_path: TensorBoardLogger
      init_args: {save_dir: runs, name: mine}
    - class_path: CSVLogger
      init_args: {save_dir: tables}
"""
KINDS: dict[str, tuple[list[str], str]] = {
    "default": ([], "lightning_logs/version_0"),
    "shared": ([*TENSORBOARD, "--trainer.logger.name=", "--trainer.logger.version="], "runs"),
    "csv": (["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"], "logs/lightning_logs/version_0"),
    "two": (["--config=two.yaml"], "runs/mine/version_0"),
    "none": (["--trainer.logger=false"], "."),
    "dirpath": (["--checkpoint.dirpath=kept"], "lightning_logs/version_0"),
}
"""Flags, and the folder that ``--resume`` and ``--run`` name."""
METRIC = ["--checkpoint.filename={epoch}-{val/auroc:.3f}"]
EPOCHS = "--trainer.max_epochs=4"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("two.yaml").write_text(TWO)
    return tmp_path / "work"


def sums(folder: Path) -> dict[str, str]:
    """What is in each file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def checkpoints(folder: Path) -> set[str]:
    """The folders with checkpoints."""
    return {str(path.parent.relative_to(folder)) for path in folder.rglob("*.ckpt")}


def written(folder: Path) -> dict[str, Any]:
    """What the only ``results.json`` below a folder says of the checkpoint."""
    (file,) = folder.rglob("results.json")
    return results(file.parent)["checkpoint"]


def resume(*flags: str) -> None:
    main(["fit", "--resume", *flags])


def recommended(name: str | Path) -> Any:
    return Recommender.load(name).recommend(1, k=3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists", "ignore:Experiment logs directory")
@pytest.mark.parametrize("kind", [name for name in KINDS if name != "default"])
def test_each_kind_of_run_goes_on_in_its_own_folder(kind, root, here, monkeypatch):
    flags, name = KINDS[kind]
    fit(root, *flags, "--model.lr_schedule=constant", "--trainer.max_epochs=1")
    folders = checkpoints(here)
    resume(name, "--trainer.max_epochs=2")
    assert checkpoints(here) == folders
    assert recommended(name)
    assert written(here)["trained_steps"] == 24

    # The copy of all of it goes on in the copy, from another folder, and the first one is as it was.
    shutil.copytree(here, here.parent / "copy")
    before = sums(here)
    (here.parent / "third").mkdir()
    monkeypatch.chdir(here.parent / "third")
    copy = here.parent / "copy" / name
    if kind == "dirpath":
        with pytest.raises(UserError, match="those there are of another run, of which it may be a copy"):
            resume(str(copy), "--trainer.max_epochs=3")
        resume(str(copy), "--trainer.max_epochs=3", f"--checkpoint.dirpath={here.parent / 'copy' / 'kept'}")
    else:
        resume(str(copy), "--trainer.max_epochs=3")
    assert sums(here) == before
    assert written(here.parent / "copy")["trained_steps"] == 36
    assert checkpoints(here.parent) == {f"{place}/{folder}" for place in ("work", "copy") for folder in folders}
    assert find_checkpoint(copy).is_relative_to(here.parent / "copy")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_folder_with_the_logs_of_two_runs(root, here):
    """TensorBoard's files of the other run stay when this one is continued, after being killed twice."""
    flags, name = KINDS["shared"]
    fit(root, *flags)
    others = {path: content for path, content in sums(here / name).items() if "tfevents" in path or ".ckpt" in path}
    fit(root, *flags, "--seed_everything=1", "--trainer.max_epochs=3")
    resume(name, EPOCHS)
    assert others.items() <= sums(here / name).items()
    assert results(here / name)["checkpoint"]["trained_steps"] == 48


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_runs_without_a_logger_leave_each_others_files_and_the_users(root, here):
    for name in ("config.yaml", "results.json"):
        Path(name).write_text("mine")
    fit(root, "--trainer.logger=false")
    first = {path: content for path, content in sums(here / "checkpoints").items() if path.endswith(".ckpt")}
    assert results(here / "checkpoints")["checkpoint"]["file"] in first
    fit(root, "--trainer.logger=false", "--seed_everything=1")
    assert Path("checkpoints/last-v1.ckpt").is_file()
    resume(".", "--trainer.max_epochs=3")
    assert first.items() <= sums(here / "checkpoints").items()
    assert yaml.safe_load(Path("checkpoints/config.yaml").read_text())["seed_everything"] == 1
    assert [Path(name).read_text() for name in ("config.yaml", "results.json")] == ["mine", "mine"]
    assert recommended(".")
    assert main(
        ["test", f"--data.root={root}", f"--ckpt_path={find_checkpoint('.')}", "--trainer.logger=false", *QUIET]
    )
    assert "test" not in results(here / "checkpoints")


def test_the_best_is_written_down(root, here, monkeypatch):
    """With a slash in its name, and beside the files of another callback, for whatever reads the run."""
    second = "{class_path: ModelCheckpoint, init_args: {save_top_k: -1, filename: 'every-{epoch}'}}"
    Path("second.yaml").write_text(f"trainer: {{callbacks: [{second}]}}\n")
    cli = fit(root, "--config=second.yaml", *METRIC, "--checkpoint.save_top_k=2")
    folder = here / "lightning_logs" / "version_0"
    entry = results(folder)["checkpoint"]
    assert folder / entry["file"] == find_checkpoint(folder) == Path(cli.best_checkpoint)
    assert Path(entry["file"]).parts[:-1] == ("checkpoints", Path(entry["file"]).parts[1])
    assert entry["monitor"] == "val/auroc"
    assert entry["score"] == pytest.approx(results(folder)["validation"]["auroc"], abs=1e-6)
    assert (entry["step"] % 12, entry["trained_steps"]) == (0, 24)
    assert newest_run() == Path("lightning_logs/version_0")
    assert recommended(folder)


@pytest.mark.slow
def test_an_evaluation_tells_of_the_checkpoint_that_is_recommended(root, here):
    """One that logs into the run's folder adds to what it says of this checkpoint, and of no other."""
    fit(root)
    folder = here / "lightning_logs" / "version_0"
    before = results(folder)
    into = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=.", "--trainer.logger.version=0"]
    test = ["test", f"--data.root={root}", *QUIET, *into]
    main([*test, f"--ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"])
    assert results(folder) == before
    main([*test, f"--ckpt_path={find_checkpoint(folder)}"])
    assert {name: value for name, value in results(folder).items() if name != "test"} == before
    assert results(folder)["test"]["auroc"] > 0


@pytest.mark.slow
def test_a_run_with_a_second_callback_and_a_slash_goes_on(root, here):
    second = "{class_path: ModelCheckpoint, init_args: {monitor: val/loss, mode: min, filename: 'low-{epoch}'}}"
    Path("second.yaml").write_text(f"trainer: {{callbacks: [{second}]}}\n")
    flags = ["--config=second.yaml", *METRIC, "--model.lr_schedule=constant"]
    fit(root, *flags)
    original = here / "lightning_logs" / "version_0"
    before = sums(original)
    shutil.copytree(original, here / "copies" / "one")
    resume("copies/one", EPOCHS)
    assert sums(original) == before
    resume("lightning_logs/version_0", EPOCHS)
    for folder in (original, here / "copies" / "one"):
        found = find_checkpoint(folder)
        assert found == folder / results(folder)["checkpoint"]["file"]
        names = [path.name for path in folder.rglob("*.ckpt")]
        assert len([name for name in names if name.startswith("low")]) == 1
        assert len(names) == 3
    files = [
        {path for path in sums(folder) if path.endswith(".ckpt")} for folder in (original, here / "copies" / "one")
    ]
    assert files[0] == files[1]


@pytest.mark.slow
def test_a_run_that_was_continued_elsewhere_and_killed(root, here, capsys):
    """What was the best stays in the old folder; ``last.ckpt`` of the new one knows what is better."""
    name = KINDS["default"][1]
    fit(root, "--model.lr_schedule=constant")
    old = {path: content for path, content in sums(here / name).items() if path.endswith(".ckpt")}
    with pytest.MonkeyPatch.context() as patch:
        send_signal(patch, 150, signal.SIGTERM)
        with pytest.raises(SystemExit):
            resume(name, EPOCHS, "--checkpoint.dirpath=other")
    assert f"go on with --resume {here / name}" in capsys.readouterr().err
    assert results(here / name)["checkpoint"]["trained_steps"] == 24
    found = find_checkpoint(name)
    assert found.parent == here / "other"
    resume(name)
    assert results(here / name)["checkpoint"]["trained_steps"] == 48
    assert find_checkpoint(name) == Path(results(here / name)["checkpoint"]["file"])
    assert old.items() <= sums(here / name).items()
    assert {path.name for path in Path("lightning_logs").iterdir()} == {"version_0"}


@pytest.mark.slow
def test_a_refused_continuation_leaves_the_settings(root, here):
    fit(root)
    before = sums(here)
    with pytest.raises(UserError, match="a run is continued with its own settings"):
        resume("--data.batch_size=32")
    after = sums(here)
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
def test_reports_from_any_folder(root, here, monkeypatch, capsys):
    """The run was given its data by a relative path; then the data moves."""
    shutil.copytree(root, "movies")
    main(["fit", "--data.root=movies", "--trainer.max_epochs=1", *QUIET, *SMALL])
    folder = here / "lightning_logs" / "version_0"
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["root"] == str(here / "movies")
    monkeypatch.chdir(here.parent)
    assert run_script("report.py", "--run", str(folder)) == 0
    assert run_script("compare.py", "--run", str(folder), "--quick") == 0
    assert (folder / "comparison.json").is_file()
    resume(str(folder), "--trainer.max_epochs=2")
    assert results(folder)["checkpoint"]["trained_steps"] == 24
    (here / "movies").rename(here / "moved")
    capsys.readouterr()
    assert run_script("report.py", "--run", str(folder)) == 2
    error = capsys.readouterr().err
    assert f"was read from {here / 'movies'}, which is no folder here: name it with --data.root DIR" in error
    assert run_script("report.py", "--run", str(folder), "--data.root", str(here / "moved")) == 0
