"""``export --format onnx``: the lists of ``recommend``, by a program that has neither torch nor this package."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_lp.__main__ import run
from lightning_lp.commands.export import export
from lightning_lp.recommend.onnx_export import write_onnx
from lightning_lp.recommend.profiles import History
from lightning_lp.recommend.recommender import Recommender
from tests.graphs import random_links
from tests.untrained import NUM_LINKS, NUM_MOVIES, NUM_USERS, recommender_of

ALONE = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "lightning_lp", "pandas", "onnx", "torch_geometric", "scipy"}:
            raise ImportError(f"{name} is not to be needed")

sys.meta_path.insert(0, Without())
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def onnxruntime() -> Any:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=["history", "sequence"])
def recommender(request: pytest.FixtureRequest) -> Recommender:
    """One whose movies 20 to 24 are as one: their scores tie."""
    made = recommender_of(request.param, links=random_links(NUM_USERS, 20, NUM_LINKS, seed=0).int())
    encoder = made._encoder
    for _, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
        if value.dim() and value.size(0) == NUM_MOVIES:
            value.data[20:] = value.data[20].clone()
    made.user_embeddings, made.movie_embeddings = (z.numpy() for z in encoder.embed_all(made._graph))
    return made


@pytest.fixture(scope="module")
def exported(recommender: Recommender, onnxruntime: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "out"
    write_onnx(recommender, out, k=12)
    return out


def histories(recommender: Recommender, num: int) -> list[History]:
    """Of one movie up to all of them; of a model that reads times and ratings, with some of these, or without."""
    rng, found = np.random.default_rng(0), []
    for i in range(num):
        movies = rng.permutation(NUM_MOVIES)[: 1 + i % NUM_MOVIES]
        is_told = recommender.edge_attrs and i % 3
        ratings = rng.integers(1, 11, len(movies)) / 2 if is_told else None
        times = np.sort(rng.integers(0, 10**9, len(movies))) if is_told else None
        found.append(History(movies, movies[:0], ratings, times))
    return found


def inputs(recommender: Recommender, history: History) -> dict[str, np.ndarray]:
    places = np.arange(len(history.movies))
    ratings = np.full(len(places), np.nan) if history.ratings is None else history.ratings
    told = {
        "rating": ratings.astype(np.float32),
        "time": places if history.times is None else history.times,
    }
    return {"movie": history.movies, **{name: told[name] for name in recommender.edge_attrs}}


def test_it_lists_what_recommend_lists_ties_included(recommender, exported, onnxruntime):
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    ties = 0
    for history in histories(recommender, 4 * NUM_MOVIES):
        expected = recommender.list_for(recommender.new_profile(history), k=12)
        best, score = session.run(["best", "score"], inputs(recommender, history))
        found = [movie for movie in best.tolist() if movie >= 0]
        assert found == [movie.movie_id for movie in expected]  # the ids of this one are indices
        np.testing.assert_allclose(score[: len(found)], [movie.score for movie in expected], atol=1e-6)
        assert (best[len(found) :] == -1).all()
        ties += len(set(found) & set(range(20, 25))) > 1
    assert ties > 20


def test_known_users_get_their_lists(recommender, exported, onnxruntime):
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    for user in range(12):
        history = recommender.history(user)
        if history.times is not None:
            order = np.argsort(history.times, kind="stable")
            history = History(history.movies[order], history.seen, history.ratings[order], history.times[order])
        best, _ = session.run(["best", "score"], inputs(recommender, history))
        assert best[best >= 0].tolist() == [movie.movie_id for movie in recommender.recommend(user, k=12)]


def test_the_file_of_movies_says_what_an_index_stands_for(recommender, exported):
    movies = json.loads((exported / "movies.json").read_text())
    assert movies["ids"] == recommender.movies.ids.tolist()
    assert movies["titles"] == recommender.titles
    assert [tuple(names) for names in movies["genres"]] == recommender.genres


def test_the_lines_of_the_readme_need_neither_torch_nor_this_package(recommender, exported, onnxruntime):
    (lines,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    path = str(Path(onnxruntime.__file__).parents[1])
    program = ALONE + f"sys.path.append({path!r})\n" + lines
    done = subprocess.run([sys.executable, "-c", program], cwd=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = recommender.recommend_new([0, 1, 2], k=12)
    said = [line.split()[0] for line in done.stdout.splitlines()]
    assert said == [str(movie.movie_id) for movie in expected]
    assert all(movie.title in line for movie, line in zip(expected, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("least", [None, 3.5])
def test_the_readme_says_which_ratings_are_a_history(recommender, onnxruntime, monkeypatch, tmp_path, least):
    monkeypatch.setattr(recommender, "min_rating", least)
    write_onnx(recommender, tmp_path / "out", k=2)
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("trained on ratings of 3.5 and more" in text) == (least is not None)
    assert "| --- | --- |\n| `best`" in text


def test_the_command_writes_it_once(recommender, onnxruntime, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Recommender, "load", lambda path: recommender)
    export(["--run", "any", "--out", str(tmp_path / "out"), "--format", "onnx", "--k", "3"])
    assert capsys.readouterr().err == ""
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model.onnx", "movies.json", "README.md"}
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert [output.shape for output in session.get_outputs()] == [[3], [3]]
    with pytest.raises(SystemExit):
        run("export", ["--run", "any", "--out", str(tmp_path / "out"), "--format", "onnx"])
    assert "exists and is not an empty folder" in capsys.readouterr().err


def test_what_cannot_be_exported_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Recommender, "load", lambda path: recommender_of("sage"))
    out = str(tmp_path / "out")
    for flags, problem in (
        (["--format", "onnx"], "the encoder sage embeds a user through the whole graph"),
        (["--format", "onnx", "--k", "0"], "--k 0: 1 or more wanted"),
        (["--k", "3"], "--k goes with --format onnx"),
    ):
        with pytest.raises(SystemExit) as end:
            run("export", ["--run", "any", "--out", out, *flags])
        assert end.value.code == 2
        assert problem in capsys.readouterr().err
    assert not Path(out).exists()


def test_a_missing_package_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Recommender, "load", lambda path: recommender_of("history"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", torch)
    with pytest.raises(SystemExit):
        run("export", ["--run", "any", "--out", str(tmp_path / "out"), "--format", "onnx"])
    assert "this command needs the package onnxscript: pip install onnxscript" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
