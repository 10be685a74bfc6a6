"""The programs in ``examples`` run, and show what they say."""

import re
from pathlib import Path

import pytest

from tests.forks import run_fork
from tests.journeys import fit

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
FIGURE = re.compile(r"test AUROC (0\.\d+)$", re.MULTILINE)


def output_of(name: str, folder: Path, *args: str) -> str:
    done = run_fork(["python", ROOT / "examples" / f"{name}.py", *args], cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_is_run():
    assert EXAMPLES == ["edge_attributes", "nearest_neighbours", "own_encoder", "own_module", "plain_pyg_loop"]
    assert all(f"examples/{name}.py" in (ROOT / "docs" / "python.md").read_text() for name in EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge_attributes", "plain_pyg_loop"])
def test_the_graph_library_learns_alone(name, tmp_path):
    figures = [float(figure) for figure in FIGURE.findall(output_of(name, tmp_path))]
    assert figures == sorted(figures)  # where there are two, the second is that of what the example shows
    assert figures[-1] > 0.7


@pytest.mark.slow
def test_an_own_encoder_is_trained_and_recommends(root, tmp_path):
    shown = output_of("own_encoder", tmp_path, f"--data.root={root}")
    assert "recall@20" in shown
    assert "movieId" in shown


@pytest.mark.slow
def test_an_own_module_is_ranked(root, tmp_path):
    assert "'val/recall@20': 0." in output_of("own_module", tmp_path, str(root))


@pytest.mark.slow
def test_an_index_answers_as_the_recommender(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(root, "--trainer.max_epochs=1")
    shown = output_of("nearest_neighbours", tmp_path, "lightning_logs/version_0")
    assert shown.count("as the recommender has it: True") == 3
