"""How the process ends: with status 0 or 2, never by an abort of a library's thread while Python shuts down."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lightning_lp.data.sources.synthetic import write_movielens
from tests.forks import run_fork
from tests.journeys import QUIET, SCRIPTS, SMALL, fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its data, and a copy of the data that is refused."""
    folder = tmp_path_factory.mktemp("exit")
    for name in ("data", "bad"):
        write_movielens(folder / name, num_users=40, num_movies=60, num_ratings=900, seed=0)
    ratings = (folder / "bad" / "ratings.csv").read_text()
    (folder / "bad" / "ratings.csv").write_text(ratings.partition("\n")[2])
    pd.read_csv(folder / "data" / "movies.csv")[["movieId"]].head(3).to_csv(folder / "liked.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(folder / "data")
    return folder


def on_one_cpu() -> None:
    """There a thread that outlives its work is still at it when Python shuts down."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


DIVERGING = [*SMALL, "--data.num_workers=2", "--model.lr=1e30"]
COMMANDS = {
    "a refused fit": (2, ["fit.py", "--data.root=bad"]),
    "recommend": (0, ["recommend.py", "--liked=liked.csv", "--k=1", "--format=csv"]),
}
"""The status, and the command."""


def ends_well(status: int, said: str, wanted: int) -> None:
    assert status == wanted, said
    assert said.count("error: ") == (status == 2), said
    assert "Traceback" not in said
    assert "terminate called" not in said


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no process can be held on one CPU here")
@pytest.mark.parametrize("name", COMMANDS)
def test_short_commands_end_with_their_status(folder, name):
    """In fresh interpreters, and more than once: on one CPU Arrow's threads aborted two of three."""
    status, (script, *flags) = COMMANDS[name]
    for _ in range(2):
        end = subprocess.run(
            [sys.executable, str(SCRIPTS / script), *flags],
            cwd=folder,
            preexec_fn=on_one_cpu,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        ends_well(end.returncode, end.stderr, status)


@pytest.mark.slow
def test_a_fit_with_workers_that_diverges_ends_with_its_status(folder):
    end = run_fork(["python", SCRIPTS / "fit.py", "--data.root=data", *DIVERGING], cwd=folder)
    ends_well(end.returncode, end.stderr, 2)


READERS = {
    "fit": ["fit.py", "--data.root=data", "--trainer.max_epochs=1", *QUIET[:1], *SMALL],
    "recommend": ["recommend.py", "--user=1", "--format=table"],
    "compare": ["compare.py", "--run=lightning_logs/version_0", "--quick"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_closed_pipe_ends_nothing_and_loses_no_file(folder, name):
    read, write = os.pipe()
    os.close(read)
    before = set(folder.rglob("*"))
    script, *flags = READERS[name]
    end = run_fork(["python", SCRIPTS / script, *flags], cwd=folder, stdout=write)
    os.close(write)
    assert end.returncode == 0, end.stderr
    for word in ("Traceback", "Exception ignored", "Broken pipe", "error: "):
        assert word not in end.stderr
    written = {path.name for path in set(folder.rglob("*")) - before}
    wanted = {"fit": {"results.json", "last.ckpt"}, "recommend": set(), "compare": {"comparison.json", "comparison.md"}}
    assert wanted[name] <= written
