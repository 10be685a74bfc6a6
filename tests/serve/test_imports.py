"""Commands import what they need and no more: most of the time until they answer goes into imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = ("pytorch_lightning", "lightning_fabric", "torchmetrics", "tensorboard", "matplotlib", "jsonargparse")
"""What trains, logs and parses settings."""
MEASURING = ("scipy.optimize", "scipy.stats", "scipy.signal", "implicit", "sklearn")
"""What fits models to measure with, and chooses their settings."""
HEAVY = (*TRAINING, *MEASURING)

WATCH = """\
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from lightning_lp.__main__ import run
"""
SERVE = """\
from lightning_lp.serve import server
def answer(app, *_):
    from starlette.testclient import TestClient
    assert TestClient(app, base_url="http://localhost").get("/v1/recommendations?user=7").status_code == 200
server.serve = answer
"""


def imported(cwd: Path, program: str) -> set[str]:
    """All modules that a program has imported in the end, in a process of its own."""
    said = subprocess.run([sys.executable, "-c", WATCH + program], cwd=cwd, capture_output=True, text=True, check=False)
    *problems, modules = said.stderr.splitlines()
    assert (said.returncode, problems) == (0, []), said.stderr
    return {*json.loads(modules)}


def heavy(modules: set[str], names: tuple[str, ...]) -> set[str]:
    return {name for name in names if name in modules}


def command(*args: object) -> str:
    return f"run(None, {[*map(str, args)]!r})\n"


@pytest.mark.parametrize("args", [["--help"], ["serve", "--help"], ["recommend", "--help"]], ids=" ".join)
def test_help_imports_next_to_nothing(tmp_path, args):
    modules = imported(tmp_path, command(*args))
    assert not heavy(modules, (*HEAVY, "torch", "numpy", "pandas", "fastapi"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recommend", "serve", "export"])
def test_what_recommends_imports_nothing_that_trains_or_measures(run_folder, tmp_path, name):
    program = {
        "recommend": command("recommend", "--run", run_folder, "--user", "7", "--why"),
        "serve": SERVE + command("serve", "--run", run_folder, "--port", "0", "--ratings", tmp_path / "log"),
        "export": command("export", "--run", run_folder, "--out", tmp_path / "exported"),
    }[name]
    modules = imported(tmp_path, program)
    assert "torch" in modules, "it has run"
    assert not heavy(modules, HEAVY)
