"""Numbers that mean nothing stop a run before they reach a checkpoint."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from lightning_lp.commands.cli import main
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule
from tests.journeys import QUIET, best_checkpoint, fit, results, run_folders

BY_LOSS = ["--checkpoint.monitor=val/loss", "--early_stopping.monitor=val/loss"]
BY_AUROC = ["--checkpoint.monitor=val/auroc", "--early_stopping.monitor=val/auroc"]
ONE_CLASS = ["--data.eval_batch_size=1", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    return tmp_path / "movies"


def finite(folder: Path) -> bool:
    found = (torch.load(path, weights_only=True)["state_dict"] for path in folder.rglob("*.ckpt"))
    return all(value.isfinite().all() for weights in found for value in weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_loss_that_is_no_number_stops_with_step_links_and_checkpoint(root, monkeypatch, wrong):
    step, ratings = LinkPredictionModule.training_step, pd.read_csv(root / "ratings.csv")

    def diverging(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        return loss * wrong if self.global_step == 15 else loss

    monkeypatch.setattr(LinkPredictionModule, "training_step", diverging)
    with pytest.raises(UserError, match=r"the training loss is (nan|inf) at step 15 \(epoch 1\)") as error:
        fit(root)
    (folder,) = run_folders()
    user, movie = str(error.value).split("with user ")[1].split(",")[0].split(" - movie ")
    assert ((ratings.userId == int(user)) & (ratings.movieId == int(movie))).any()
    assert f"the last good checkpoint is {(folder / 'checkpoints' / 'last.ckpt').resolve()}" in str(error.value)
    assert best_checkpoint(folder).is_file()
    assert finite(folder)


def test_a_validation_loss_that_is_no_number_chooses_no_checkpoint(root, monkeypatch):
    logits = LinkPredictionModule._logits
    monkeypatch.setattr(LinkPredictionModule, "_logits", lambda self, *of: logits(self, *of) * torch.nan)
    with pytest.raises(UserError, match="the validation loss is nan after step 12"):
        fit(root, *BY_LOSS)
    assert not [path for path in run_folders()[0].rglob("*.ckpt") if path.name != "last.ckpt"]


def test_labels_of_one_class_are_undefined_and_choose_no_checkpoint(root, capsys):
    remedy = "choose by --checkpoint.monitor val/loss and --early_stopping.monitor val/loss, or"
    with pytest.raises(UserError, match=f"val/auroc is undefined on these validation labels .*{remedy}"):
        fit(root, *ONE_CLASS, *BY_AUROC)
    assert not [path for path in run_folders()[0].rglob("*.ckpt") if path.name != "last.ckpt"]
    fit(root, *ONE_CLASS, *BY_LOSS)
    found = results(run_folders()[1])["validation"]
    assert found["auroc"] is None
    assert found["loss"] > 0
    main(
        [
            "test",
            f"--data.root={root}",
            *ONE_CLASS,
            *BY_LOSS,
            f"--ckpt_path={best_checkpoint(run_folders()[1])}",
            *QUIET,
        ]
    )
    assert results(run_folders()[2])["test"]["auroc"] is None
    assert "undefined" in capsys.readouterr().out
