"""An encoder of a user's own, and those that are shipped, through the command line: nothing of ours is changed."""

import csv
import sys
from pathlib import Path

import pytest

from lightning_lp.commands.cli import main
from lightning_lp.commands.export import export
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.recommend import Recommender
from tests.journeys import QUIET, best_checkpoint, results, run_folders

OWN = """
import torch
from torch import nn
from lightning_lp import Encoder

REV = ("movie", "rev_rates", "user")

class Rated(Encoder):
    edge_types = (REV,)
    edge_attrs = ("rating",)

    def __init__(self, hidden_channels: int = 8, scale: float = 1.0):
        super().__init__()
        self.hidden_channels, self.scale = hidden_channels, scale

    def build(self, sizes):
        self.embedding = nn.Embedding(sizes.num_movies, self.hidden_channels)

    def forward(self, batch):
        movie = self.embedding(batch["movie"].node_id)
        sender, receiver = self.messages(batch, REV)
        weight = (batch[REV].rating - 2.5)[:, None] * self.scale
        user = movie.new_zeros(batch["user"].node_id.numel(), movie.size(1))
        return {"user": user.index_add(0, receiver, movie[sender] * weight), "movie": movie}
"""
NAME = "own_rated.Rated"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_rated.py").write_text(OWN)
    sys.path.insert(0, str(folder))
    write_movielens(folder / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    yield folder / "movies"
    sys.path.remove(str(folder))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(root: Path, *flags: str):
    return main(["fit", f"--data.root={root}", "--trainer.max_epochs=1", "--data.batch_size=128", *QUIET, *flags])


def test_ones_own_does_what_ours_do(root, here, monkeypatch):
    cli = fit(root, f"--model.encoder={NAME}", "--model.encoder.hidden_channels=4", "--model.encoder.scale=0.5")
    assert cli.model.encoder.options == {"hidden_channels": 4, "scale": 0.5}
    (run,) = run_folders()
    found = results(run)["validation"]
    assert found["recall@20"] is not None
    main(["fit", "--resume", "--trainer.max_epochs=2", *QUIET])
    assert run_folders() == [run]
    main(["test", f"--data.root={root}", f"--ckpt_path={best_checkpoint(run)}", *QUIET])
    recommender = Recommender.load(run)
    liked = recommender.movies.ids[:3].tolist()
    assert len(recommender.recommend(1, k=5)) == len(recommender.recommend_new(liked, k=5)) == 5
    assert len(recommender.similar(recommender.movies.ids[0], k=3)) == 3
    export(["--run", str(run), "--out", str(here / "out")])
    assert (here / "out" / "topk.py").is_file()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(root.parent)])
    monkeypatch.delitem(sys.modules, "own_rated")
    with pytest.raises(UserError, match=f"the encoder {NAME}: there is no module own_rated: put its folder on"):
        Recommender.load(run)


def test_a_rating_that_is_read_must_be_there(root, here):
    data = here / "bare"
    data.mkdir()
    (data / "movies.csv").write_bytes((root / "movies.csv").read_bytes())
    with (root / "ratings.csv").open() as file:
        rows = [row[:2] for row in csv.reader(file)]
    with (data / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(UserError, match="the encoder reads rating of each rating, and this data has neither"):
        fit(data, f"--model.encoder={NAME}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightgcn", "hgt"])
def test_shipped_ones_train_and_recommend(root, name):
    cli = fit(root, f"--model.encoder={name}", "--model.encoder.num_layers=1", "--model.encoder.hidden_channels=4")
    assert cli.model.hparams["encoder"]["init_args"]["num_layers"] == 1
    recommender = Recommender.load(run_folders()[0])
    liked = recommender.movies.ids[:3].tolist()
    assert len(recommender.recommend(1, k=5)) == len(recommender.recommend_new(liked, k=5)) == 5


@pytest.mark.slow
def test_another_number_of_hops_than_layers_is_refused(root):
    with pytest.raises(
        UserError, match=r"--data.sampling.num_neighbors \[5, 5, 5\] is for 3 hops, and the encoder reads 2"
    ):
        fit(root, "--model.encoder=sage", "--data.sampling.num_neighbors=[5,5,5]")
    cli = fit(root, "--model.encoder=sage", "--model.encoder.num_layers=3", "--data.sampling.num_neighbors=[3,3,3]")
    assert len(cli.model.encoder.convs) == 3


def test_old_options_go_to_the_encoder_with_a_note(root, here, capsys):
    cli = fit(root, "--model.hidden_channels=4", "--model.spectral_channels=8")
    assert cli.model.encoder.options["hidden_channels"] == 4
    assert "are now given as --model.encoder.hidden_channels" in capsys.readouterr().err
    old = "model:\n  encoder: sage\n  hidden_channels: 6\n  dropout: 0.0\ndata:\n  num_neighbors: [4, 4, 4]\n"
    Path("old.yaml").write_text(old)
    cli = fit(root, "--config=old.yaml")
    assert cli.model.encoder.options == {"hidden_channels": 6, "num_layers": 3}


@pytest.mark.slow
def test_help_tells_of_an_encoders_options(root, capsys):
    for name, option in (("hgt", "heads"), (NAME, "scale")):
        with pytest.raises(SystemExit):
            main(["fit", "--model.encoder.help", name])
        assert f"--model.encoder.{option}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "lightgcn.LightGCNEncoder" in capsys.readouterr().out
