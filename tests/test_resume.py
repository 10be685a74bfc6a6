"""A stopped run that is continued ends as the one that was never stopped, bit for bit."""

import contextlib
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lightning_lp.__main__ import run
from tests.forks import run_fork
from tests.full_disk import NO_MOUNT
from tests.journeys import QUIET, SMALL, best_checkpoint, fit, run_folders, run_script
from tests.killing import contents, fill_the_disk, make_the_model_draw, run_process, send_signal

FLAGS = ["--trainer.max_epochs=3", "--checkpoint.autosave_steps=3", *QUIET, *SMALL]
LACKING = ("train/loss", "train/bce", "train/softmax", "epoch")
"""Means over an epoch that was cut off lack a point."""
RUN = Path("lightning_logs") / "version_0"
FIRST, LAST = 200, 320
"""KiB of a disk on which there is room for the first checkpoint, and for all but the last."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_the_model_draw(monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted run says."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_the_model_draw(patch)
        assert run_script("fit.py", f"--data.root={root}", *FLAGS) == 0
    return contents(folder / RUN)


def stopped(root: Path, how: int, stop_at: int = 150) -> int:
    """Begins a run that gets a signal in its second epoch. Returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        send_signal(patch, stop_at, how)
        return run_script("fit.py", f"--data.root={root}", *FLAGS)


@pytest.mark.slow
def test_a_signal_saves_and_the_run_goes_on_exactly(root, whole, capsys):
    assert stopped(root, signal.SIGTERM) == 143
    error = capsys.readouterr().err
    assert "stopped at step" in error
    assert "go on with --resume" in error
    assert "Traceback" not in error
    assert run_script("fit.py", "--resume") == 0
    assert [folder.name for folder in run_folders()] == ["version_0"]
    assert contents(RUN) == whole


def test_help_tells_of_it_and_no_config_does(root, capsys):
    def printed(call: Callable[[], object]) -> str:
        with contextlib.suppress(SystemExit):
            call()
        return " ".join(capsys.readouterr().out.split())

    for shown in (
        printed(lambda: run(args=["fit", "--help"])),
        printed(lambda: run_script("fit.py", "--help")),
    ):
        assert "--resume [RUN] continue the newest run, or RUN, exactly, with its own settings" in shown
    assert "--resume" not in printed(lambda: run(args=["test", "--help"]))
    assert "resume" not in printed(lambda: run(args=["fit", "--print_config"]))
    Path("mine.yaml").write_text("resume: lightning_logs/version_0\n")
    with pytest.raises(SystemExit):
        run(args=["fit", "--config=mine.yaml"])
    assert "error: mine.yaml: there is no setting resume" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_readable_last_checkpoint_the_newest_readable_one_is_taken(root, whole, capsys):
    assert stopped(root, signal.SIGTERM) == 143
    last = RUN / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    assert run_script("fit.py", "--resume", str(RUN)) == 0
    error = capsys.readouterr().err
    assert f"warning: {last} is not a checkpoint of lightning_lp, or is damaged" in error
    assert "going on from epoch=0-step=12.ckpt" in error
    found = contents(RUN)
    found["events"] |= {tag: whole["events"][tag] for tag in LACKING}
    assert found == whole


_ADD, _OF = "--trainer.callbacks+=", "--trainer.callbacks."
AVERAGE = [f"{_ADD}StochasticWeightAveraging", f"{_OF}swa_lrs=0.01", f"{_OF}swa_epoch_start=1"]
FINDER = [f"{_ADD}LearningRateFinder", f"{_OF}min_lr=1e-4", f"{_OF}num_training_steps=20"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "stop_at"),
    [
        (AVERAGE, 110),
        (FINDER, 250),
        (["--trainer.limit_val_batches=0"], 150),
    ],
    ids=["an average of weights", "a rate that was searched", "no validation"],
)
@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
def test_other_runs_go_on_exactly_too(flags, stop_at, root, here, monkeypatch):
    flags = [f"--data.root={root}", *FLAGS, *flags]
    for folder in ("whole", "part"):
        (here / folder).mkdir()
        monkeypatch.chdir(here / folder)
        if folder == "whole":
            assert run_script("fit.py", *flags) == 0
            continue
        with pytest.MonkeyPatch.context() as patch:
            send_signal(patch, stop_at, signal.SIGTERM)
            assert run_script("fit.py", *flags) == 143
        assert run_script("fit.py", "--resume") == 0
    assert contents(RUN) == contents(here / "whole" / RUN)


@pytest.mark.slow
def test_a_full_disk_stops_with_one_sentence_and_the_run_goes_on(root, whole, capsys):
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, writes=22)
        assert run_script("fit.py", f"--data.root={root}", *FLAGS) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "No space left on device" in error[0]
    assert run_script("fit.py", "--resume") == 0
    assert contents(RUN) == whole


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [FIRST, LAST])
def test_a_real_disk_that_is_full(kibibytes, root, whole, here):
    """A tmpfs that holds the first checkpoint, and one that holds all but the last; then there is room again."""
    ended = run_fork(["python", "-m", "tests.full_disk", str(kibibytes), f"--data.root={root}", *FLAGS], timeout=120)
    if ended.returncode == NO_MOUNT:
        pytest.skip("this system lets no user mount a tmpfs")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    (error,) = (line for line in ended.stderr.splitlines() if line.startswith("error: "))
    assert "No space left on device" in error
    assert contents(RUN) == whole


@pytest.mark.slow
def test_a_finished_run_goes_on_for_more_epochs(root, here, monkeypatch):
    """With a learning rate that does not depend on how many there are."""
    flags = [f"--data.root={root}", *FLAGS, "--model.lr_schedule=constant"]
    for folder, epochs in (("whole", 3), ("part", 2)):
        (here / folder).mkdir()
        monkeypatch.chdir(here / folder)
        assert run_script("fit.py", *flags, f"--trainer.max_epochs={epochs}") == 0
    assert run_script("fit.py", "--resume", "--trainer.max_epochs=3") == 0
    assert contents(RUN) == contents(here / "whole" / RUN)


def test_what_cannot_be_continued(root, here, capsys):
    def error(*args: str) -> str:
        with pytest.raises(SystemExit) as end:
            run(args=list(args))
        found = capsys.readouterr().err
        assert (end.value.code, "Traceback" in found) == (2, False), found
        return found

    given = ["fit", f"--data.root={root}", *QUIET, *SMALL]
    assert "there is no run in lightning_logs that could be continued" in error("fit", "--resume")
    fit(root, "--trainer.max_epochs=1")
    best = best_checkpoint(RUN)
    assert "--resume continues a fit, and not test" in error("test", "--resume")
    assert "a run is continued with its own settings" in error("fit", "--resume", "--data.batch_size=32")
    assert "was trained with 8, which cannot be changed" in error(
        "fit", "--resume", "--model.encoder.hidden_channels=4"
    )
    (here / "alone.ckpt").write_bytes(best.read_bytes())
    assert "a fit continues a run in its own folder" in error(*given, "--ckpt_path", "alone.ckpt")
    for file in (best, best.with_name("last.ckpt")):
        file.write_bytes(b"hello")
    assert f"{RUN} holds no readable checkpoint" in error("fit", "--resume")


@pytest.mark.slow
def test_a_run_is_not_continued_on_other_data(root, here, capsys):
    fit(root, "--trainer.max_epochs=1")
    (here / "other").mkdir()
    pd.read_csv(root / "ratings.csv")[1:].to_csv(here / "other" / "ratings.csv", index=False)
    pd.read_csv(root / "movies.csv").to_csv(here / "other" / "movies.csv", index=False)
    with pytest.raises(SystemExit):
        run(args=["fit", "--resume", f"--data.root={here / 'other'}", "--trainer.max_epochs=2"])
    assert "links (user, movie): 0 new, 1 gone ((" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again_at_random_moments(root, whole, here, seed):
    rng, kills = random.Random(seed), 0
    while kills < 5:  # may be after the fit, too
        begun = list(here.glob("lightning_logs/*/checkpoints/*.ckpt"))
        flags = ["--resume"] if begun else [f"--data.root={root}", *FLAGS]
        status = run_process(here, flags, stop_at=rng.randrange(10, 130))
        assert status in (0, -signal.SIGKILL), (here / "output.txt").read_text()[-2000:]
        kills += status != 0
    assert run_process(here, ["--resume"]) == 0, (here / "output.txt").read_text()[-2000:]
    assert contents(run_folders()[-1]) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "go_on"),
    [(signal.SIGTERM, 143, ["--resume"]), (signal.SIGINT, 130, ["--ckpt_path", "last"])],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_processes_end_with_the_shells_status(root, whole, here, how, status, go_on):
    fit = [f"--data.root={root}", *FLAGS]
    assert run_process(here, [*fit, "--data.num_workers=2"], 100, how) == status  # batches sampled ahead are not lost
    assert run_process(here, go_on if go_on == ["--resume"] else [*fit, *go_on]) == 0
    assert contents(RUN) == whole
