import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_lp.__main__ import run
from lightning_lp.commands.export import export
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.recommend.export import write_export
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.recommend.topk import TopK
from tests.graphs import sage_module
from tests.journeys import fit

ALL_LISTS = """
import json, sys

class OnlyNumPy:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "pandas", "pyarrow", "lightning_lp", "torch_geometric", "scipy"}:
            raise ImportError(f"{name} is not to be needed")

sys.meta_path.insert(0, OnlyNumPy())
from topk import TopK
top = TopK()
print(json.dumps({user: top.recommend(user, k=12) for user in USERS}))
"""


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("export")
    write_movielens(folder / "data", num_users=40, num_movies=60, num_ratings=900, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(folder / "data")
    return Recommender.load(folder / "lightning_logs" / "version_0")


@pytest.fixture(scope="module")
def exported(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "deep" / "folder"
    write_export(recommender, out)
    return out


def lists(folder: Path, users: list) -> dict[str, list]:
    program = ALL_LISTS.replace("USERS", repr(users))
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_numpy_alone_gives_the_same_lists(recommender, exported):
    users = recommender.users.ids.tolist()
    found = lists(exported, users)
    assert len(found) == 40
    for user in users:
        expected = [[*movie[:3], list(movie.genres), movie.score] for movie in recommender.recommend(user, k=12)]
        assert found[str(user)] == expected


def test_the_class_itself_gives_the_same_lists(recommender, exported):
    top = TopK(exported)
    for user in recommender.users.ids.tolist():
        found = [(*movie[:3], tuple(movie.genres), movie.score) for movie in top.recommend(str(user), k=12)]
        assert found == [tuple(movie) for movie in recommender.recommend(user, k=12)]
    user = max(recommender.users.ids.tolist(), key=lambda one: len(top.recommend(one, k=60)))
    assert len(top.recommend(user)) == 10
    assert len(top.recommend(user, k=1)) == 1
    with pytest.raises(ValueError, match="k is 0: give 1 or more"):
        top.recommend(user, k=0)
    with pytest.raises(ValueError, match="user 'nobody' is unknown"):
        top.recommend("nobody")


def test_ids_that_are_text_and_genres_that_are_none(tmp_path):
    torch.manual_seed(0)
    state = {
        "users": ["ann", "bob=1"],
        "movies": ["x", "y", "zz"],
        "titles": ["X", "Ÿ \x1b", "Z"],
        "genres": ["Drama|Comedy", "", "(no genres listed)"],
        "links": torch.tensor([[0, 1], [0, 2]], dtype=torch.int32),
        "below_min_rating": torch.tensor([[0], [1]], dtype=torch.int32),
    }
    recommender = Recommender(sage_module(2, 3, num_features=3, hidden_channels=4), state)
    write_export(recommender, tmp_path / "out")
    found = lists(tmp_path / "out", ["ann", "bob=1"])
    assert [movie[1] for movie in found["ann"]] == ["zz"]
    for user, rows in found.items():
        assert rows == [[*movie[:3], list(movie.genres), movie.score] for movie in recommender.recommend(user)]
    assert pd.read_parquet(tmp_path / "out" / "users.parquet")["userId"].tolist() == ["ann", "bob=1"]


def test_tables_hold_what_the_arrays_hold(recommender, exported):
    users, movies = pd.read_parquet(exported / "users.parquet"), pd.read_parquet(exported / "movies.parquet")
    assert users["userId"].tolist() == recommender.users.ids.tolist()
    assert movies["movieId"].tolist() == np.load(exported / "movie_ids.npy").tolist()
    assert movies["title"].tolist() == recommender.titles
    assert [tuple(names) for names in movies["genres"]] == recommender.genres
    for table, name in ((users, "user_embeddings"), (movies, "movie_embeddings")):
        array = np.load(exported / f"{name}.npy")
        assert array.dtype == np.float32
        assert (np.stack(table["embedding"].to_list()) == array).all()
        assert (array == getattr(recommender, name)).all()
    assert len(pd.read_parquet(exported / "seen.parquet").drop_duplicates()) == 900


def test_the_lines_of_the_readme_run(exported):
    (lines,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", lines], cwd=exported, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 10
    assert done.stdout.startswith("1 ")


def test_topk_refuses_mistakes(exported):
    spec = importlib.util.spec_from_file_location("exported_topk", exported / "topk.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    top = module.TopK()
    assert top.recommend("1", k=3) == top.recommend(1, k=3)
    with pytest.raises(ValueError, match="user 999 is unknown"):
        top.recommend(999)
    with pytest.raises(ValueError, match="k is 0"):
        top.recommend(1, k=0)


def test_script_writes_a_new_folder_once(recommender, capsys, monkeypatch, tmp_path):
    folder = tmp_path / "out"
    monkeypatch.setattr("lightning_lp.recommend.recommender.Recommender.load", lambda path: recommender)
    run(None, ["export", "--run", "any", "--out", str(folder)])
    assert capsys.readouterr().out == f"exported to {folder}: see {folder / 'README.md'}\n"
    assert os.listdir(tmp_path) == ["out"]
    for options, problem in (
        (["--run", "any", "--out", str(folder)], "exists and is not an empty folder"),
        (["--run", "any"], "the following arguments are required: --out"),
    ):
        with pytest.raises(SystemExit) as end:
            run(export, options)
        assert end.value.code == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert problem in err


def test_an_export_that_fails_leaves_nothing(recommender, monkeypatch, tmp_path):
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_lp.recommend.export._write_tables", fail)
    with pytest.raises(KeyboardInterrupt):
        write_export(recommender, tmp_path / "out")
    assert not list(tmp_path.iterdir())
