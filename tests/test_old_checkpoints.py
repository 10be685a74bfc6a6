"""Runs of commit f10520a load and recommend as they did: ``tests/old`` has checkpoints, and what it said then."""

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch

from lightning_lp.checkpointing.runs import load_run
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import Reading
from lightning_lp.data.settings import Sampling, SplitSettings
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.recommend import Recommender

OLD = Path(__file__).parent / "old"
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_they_recommend_as_they_did(name):
    recommender = Recommender.load(OLD / f"{name}.ckpt")
    found = {
        "user": recommender.recommend(1, k=5),
        "new": recommender.recommend_new([1, 2, 3], k=5),
        "similar": recommender.similar(1, k=5),
    }
    for what, movies in found.items():
        assert [movie.movie_id for movie in movies] == [movie_id for movie_id, _ in EXPECTED[name][what]]
        assert [movie.score for movie in movies] == pytest.approx(
            [score for _, score in EXPECTED[name][what]], abs=1e-5
        )


@pytest.mark.parametrize("name", EXPECTED)
def test_they_load_in_python_with_the_options_they_had(name):
    module = LinkPredictionModule.load_from_checkpoint(OLD / f"{name}.ckpt", weights_only=True)
    options = {
        "history": {"hidden_channels": 4, "spectral_channels": 4},
        "sage": {"hidden_channels": 4, "num_layers": 2},
    }
    assert module.encoder.options.items() >= options[name].items()
    weights = torch.load(OLD / f"{name}.ckpt", weights_only=True)["state_dict"]
    assert module.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


def test_their_data_is_known_again(tmp_path):
    root = tmp_path / "olddata"
    write_movielens(root, num_users=30, num_movies=40, num_ratings=400, seed=3)
    shutil.copy(OLD / "history.ckpt", tmp_path)
    data = MovieLensDataModule.load_from_checkpoint(tmp_path / "history.ckpt", root=str(root))
    assert data.split.train_links.size(1) == 320
    assert data.sampling == Sampling(num_neighbors=[-1], num_neighbors_of_movies=[0])
    for changes in ({"split": {"seed": 1}}, {"split": SplitSettings(seed=1)}, {"split_seed": 1}):
        with pytest.raises(UserError, match="another split of the same data"):
            MovieLensDataModule.load_from_checkpoint(tmp_path / "history.ckpt", root=str(root), **changes)
    changes = {"root": str(root), "sampling": {"neg_sampling_ratio": 3.0}}
    data = MovieLensDataModule.load_from_checkpoint(tmp_path / "history.ckpt", **changes)
    assert data.sampling == Sampling([-1], [0], neg_sampling_ratio=3.0)
    data, _ = load_run(tmp_path / "history.ckpt", changes)
    assert data.sampling == Sampling([-1], [0], neg_sampling_ratio=3.0)


def test_those_of_0_2_have_a_group_for_how_files_are_read(tmp_path):
    root = tmp_path / "olddata"
    write_movielens(root, num_users=30, num_movies=40, num_ratings=400, seed=3)
    checkpoint = torch.load(OLD / "history.ckpt", weights_only=True)
    settings = checkpoint["datamodule_hyper_parameters"]
    for each in fields(Reading):
        settings.pop(each.name, None)
    settings["reading"] = asdict(Reading(unknown_movies="keep"))
    torch.save(checkpoint, file := tmp_path / "old.ckpt")
    changes = {"root": str(root), "ratings_file": "ratings.csv.zst"}
    (root / "ratings.csv").rename(root / "ratings.csv.zst")
    for data in (MovieLensDataModule.load_from_checkpoint(file, **changes), load_run(file, changes)[0]):
        assert data.split.train_links.size(1) == 320
        assert data.reading == Reading(unknown_movies="keep", ratings_file="ratings.csv.zst")
    assert len(Recommender.load(file).recommend(1, k=5)) == 5
