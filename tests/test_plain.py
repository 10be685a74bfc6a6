"""Settings are plain values before they are saved, and what is saved can be loaded by everything."""

import os
import subprocess
import sys
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import lightning_lp
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.settings import Sampling, SplitSettings
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.plain import plain
from lightning_lp.recommend.recommender import Recommender
from tests.forks import run_fork

SIZES = ("num_users", "num_movies", "num_features", "num_terms", "max_terms")

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


def trainer(folder: Path) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, default_root_dir=folder, **quiet)


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Path("a/b"), "a/b"),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.arange(2), [0, 1]),
        (torch.tensor(2.5), 2.5),
        (torch.device("cpu"), "cpu"),
        (Colour.RED, "red"),
        ((1, np.int32(2)), [1, 2]),
        ({np.str_("a"): (Path("b"),)}, {"a": ["b"]}),
        (None, None),
        (float("inf"), float("inf")),
    ],
)
def test_values_become_plain(value, wanted):
    found = plain(value, "it")
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize("value", [object(), {1, 2}, print, np.random.default_rng(0), [object()]])
def test_what_cannot_is_a_type_error_at_once(value):
    with pytest.raises(TypeError, match=r"root is a .*, which no checkpoint can hold"):
        MovieLensDataModule(root=value)
    with pytest.raises(TypeError, match="lr is a "):
        LinkPredictionModule(20, 30, 3, lr=value)


def test_a_run_of_odd_settings_can_be_tested_loaded_and_recommended_from(root, tmp_path):
    pl.seed_everything(0)
    data = MovieLensDataModule(
        root=root,
        split=SplitSettings(num_val=np.float64(0.1), seed=np.int64(0)),
        sampling={"num_neighbors": (-1,)},
        batch_size=np.int32(64),
    )
    sizes = {name: np.int64(getattr(data, name)) for name in SIZES}
    options = {"hidden_channels": np.int64(8), "spectral_channels": 8, "lr": np.float32(0.001)}
    model = LinkPredictionModule(**sizes, **options, losses={"bce": np.float64(1.0)})
    run = trainer(tmp_path)
    run.fit(model, datamodule=data)
    path = run.checkpoint_callback.best_model_path
    (tested,) = run.test(datamodule=data, ckpt_path="best", verbose=False)
    assert len(Recommender.load(path).recommend(1, k=3)) == 3

    again = MovieLensDataModule.load_from_checkpoint(path)
    assert again.hparams == data.hparams
    assert (again.num_users, again.split.fingerprint) == (40, data.split.fingerprint)
    loaded = LinkPredictionModule.load_from_checkpoint(path)
    assert loaded.hparams == model.hparams
    assert trainer(tmp_path).test(loaded, datamodule=again, verbose=False) == [tested]
    with pytest.raises(UserError, match="another split"):
        MovieLensDataModule.load_from_checkpoint(path, split_seed=1)


def test_loaders_in_place_of_the_data_module_are_refused_where_it_is_needed(root, tmp_path):
    data = MovieLensDataModule(root=root, batch_size=64)
    sizes = {name: getattr(data, name) for name in SIZES}
    model = LinkPredictionModule(**sizes, hidden_channels=8, spectral_channels=8)
    run = trainer(tmp_path)
    with pytest.raises(UserError, match=r"give trainer\.fit\(model, datamodule=data\) in place of loaders"):
        run.fit(model, data.train_dataloader(), data.val_dataloader())
    assert run.global_step == 0


def test_the_tutorials_model_trains_with_loaders_and_its_checkpoint_says_what_it_lacks(root, tmp_path):
    pl.seed_everything(0)
    data = MovieLensDataModule(root=root, batch_size=64, sampling=Sampling(num_neighbors=[5, 5]))
    sizes = {name: getattr(data, name) for name in SIZES}
    model = LinkPredictionModule(**sizes, num_layers=2, encoder="sage", losses={"bce": 1.0}, hidden_channels=8)
    run = trainer(tmp_path)
    run.fit(model, data.train_dataloader(), data.val_dataloader())
    assert run.global_step == 12
    assert float(run.callback_metrics["val/auroc"]) > 0.3
    path = run.checkpoint_callback.best_model_path
    with pytest.raises(UserError, match=r"knows no users and movies .*trainer\.fit\(model, datamodule=data\)"):
        Recommender.load(path)
    torch.save({"weight": torch.ones(1)}, tmp_path / "foreign.ckpt")
    with pytest.raises(UserError, match="it has no state_dict"):
        Recommender.load(tmp_path / "foreign.ckpt")


def test_the_public_names_are_imported_when_they_are_used():
    assert lightning_lp.Recommender is Recommender
    assert lightning_lp.MovieLensDataModule is MovieLensDataModule
    assert lightning_lp.LinkPredictionModule is LinkPredictionModule
    public = {"Encoder", "LinkPredictionModule", "MovieLensDataModule", "Recommender", "Sizes"}
    public |= {"Columns", "Reading", "Sampling", "SplitSettings"}
    assert set(lightning_lp.__all__) == public
    with pytest.raises(AttributeError, match="has no attribute 'Recomender'"):
        _ = lightning_lp.Recomender
    cheap = "import sys, lightning_lp; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", cheap], env=ENVIRONMENT, check=False).returncode == 0


SPAWN = """
import json, sys
import pytorch_lightning as pl
from lightning_lp import LinkPredictionModule, MovieLensDataModule

def main(root, strategy):
    pl.seed_everything(0)
    data = MovieLensDataModule(root=root, batch_size=64)
    sizes = ("num_users", "num_movies", "num_features", "num_terms", "max_terms")
    sizes = {name: getattr(data, name) for name in sizes}
    model = LinkPredictionModule(**sizes, hidden_channels=8, spectral_channels=8)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy=strategy, max_epochs=1, **quiet)
    trainer.fit(model, datamodule=data)
    weights = sum(float(weight.detach().sum()) for weight in model.parameters())
    print(json.dumps({"weights": weights} | {name: float(value) for name, value in trainer.callback_metrics.items()}))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.slow
def test_in_python_processes_that_are_copies_train_and_measure_the_same(root, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SPAWN)
    found = []
    for strategy in ("ddp_notebook", "ddp_spawn"):
        done = run_fork(["python", script, root, strategy], cwd=tmp_path, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(done.stdout.splitlines()[-1])
    assert "val/loss" in found[0]
    assert found[0] == found[1]
