import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # of a call in pytorch_lightning

import pytest
import torch
from hypothesis import settings
from matplotlib.figure import Figure

from lightning_lp.data.sources.synthetic import write_movielens
from tests.odd_inputs import write_odd_inputs

torch.set_num_threads(1)
settings.register_profile("always", deadline=None, derandomize=True)  # the same examples on a busy machine, too
settings.register_profile("search", deadline=None)  # others each time: pytest --hypothesis-profile search
settings.load_profile("always")

SHARED = Path(os.environ.get("LIGHTNING_LP_SHARED", Path(__file__).parents[2] / "shared"))
MOVIELENS = SHARED / "data" / "ml-latest-small"
CASES = SHARED / "cases"


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The real ml-latest-small, where this machine has it."""
    if not MOVIELENS.is_dir():
        pytest.skip(f"needs ml-latest-small in {MOVIELENS}")
    return MOVIELENS


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small made-up data, for runs of a second; not to be written to."""
    folder = tmp_path_factory.mktemp("small") / "movies"
    write_movielens(folder, num_users=40, num_movies=60, num_ratings=900, seed=0)
    return folder


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up data with the sizes of ml-latest-small: 610 users, 9,742 movies, 100,836 ratings, 20 genre columns."""
    root = tmp_path_factory.mktemp("made-up") / "world"
    write_movielens(root, num_users=610, num_movies=9_742, num_ratings=100_836, seed=1)
    return root


@pytest.fixture(scope="session", params=["made_up", *(["movielens"] if MOVIELENS.is_dir() else [])])
def sized(request: pytest.FixtureRequest) -> Path:
    """What must hold for any data of these sizes: made-up, and the real ml-latest-small where this machine has it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def odd_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd input files that the tests make themselves."""
    return write_odd_inputs(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="session", params=["made_up", *(["shared"] if CASES.is_dir() else [])])
def cases(request: pytest.FixtureRequest, odd_inputs: Path) -> Path:
    """The odd input files: those made by the tests, and others of the same names where this machine has them."""
    return CASES if request.param == "shared" else odd_inputs


@pytest.fixture(autouse=True)
def blank_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws no curves after each validation of a fit: that takes longer than the fit. They have a test of their own."""
    monkeypatch.setattr("lightning_lp.callbacks.curves.curves_figure", lambda *_: Figure(figsize=(1, 1)))
