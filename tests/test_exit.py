"""How the process ends: with status 0 or 2, never by an abort of a library's thread while Python shuts down."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from lightning_lp.data.sources.synthetic import write_movielens
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


def run_often(folder: Path, *command: str, times: int = 1, **options: object) -> list[tuple[int, str]]:
    """Status and what was said of a command that runs several times, every second time on one CPU.

    There a thread that outlives its work is still at it when Python shuts down.
    """

    def on_one_cpu() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    ends = [
        subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            preexec_fn=on_one_cpu if times > 1 and i % 2 == 0 else None,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            **{"stdout": subprocess.PIPE} | options,
        )
        for i in range(times)
    ]
    return [(end.returncode, end.stderr) for end in ends]


DIVERGING = [*SMALL, "--data.num_workers=2", "--model.lr=1e30"]
COMMANDS = {
    "a refused fit": (3, 2, ["fit.py", "--data.root=bad"]),
    "a fit with workers that diverges": (1, 2, ["fit.py", "--data.root=data", *DIVERGING]),
    "recommend": (3, 0, ["recommend.py", "--liked=liked.csv", "--k=1", "--format=csv"]),
}
"""How often each runs: Arrow's threads aborted two of three on one CPU. The status, and the command."""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no process can be held on one CPU here")
@pytest.mark.parametrize("name", COMMANDS)
def test_short_commands_end_with_their_status(folder, name):
    times, status, (script, *flags) = COMMANDS[name]
    ends = run_often(folder, str(SCRIPTS / script), *flags, times=times)
    assert Counter(end[0] for end in ends) == {status: times}, ends
    for _, said in ends:
        assert said.count("error: ") == (status == 2), said
        assert "Traceback" not in said
        assert "terminate called" not in said


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
    ((status, said),) = run_often(folder, str(SCRIPTS / script), *flags, stdout=write)
    os.close(write)
    assert status == 0, said
    for word in ("Traceback", "Exception ignored", "Broken pipe", "error: "):
        assert word not in said
    written = {path.name for path in set(folder.rglob("*")) - before}
    wanted = {"fit": {"results.json", "last.ckpt"}, "recommend": set(), "compare": {"comparison.json", "comparison.md"}}
    assert wanted[name] <= written
