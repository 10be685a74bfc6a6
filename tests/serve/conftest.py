import shutil
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from lightning_lp.data.sources.synthetic import write_movielens
from tests.journeys import best_checkpoint, fit

HOSTILE = "<img src=x onerror=\"document.title='hurt'\"><b>Bold</b> & 'more' (1999)"
"""The title of the first movie."""


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of 40 users and 60 movies, whose first movie has a hostile title; its data is gone."""
    folder = tmp_path_factory.mktemp("serve")
    write_movielens(folder / "data", num_users=40, num_movies=60, num_ratings=900, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("lightning_lp.callbacks.curves.curves_figure", lambda *_: Figure(figsize=(1, 1)))
        fit(folder / "data")
    shutil.rmtree(folder / "data")
    run = folder / "lightning_logs" / "version_0"
    file = best_checkpoint(run)
    content = torch.load(file, weights_only=True)
    content["MovieLensDataModule"]["titles"][0] = HOSTILE
    torch.save(content, file)
    return run
