"""Which way a monitored metric gets better, and what becomes of a fit in which it has no value."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping

from lightning_lp.callbacks.checkpoints import RunCheckpoint
from lightning_lp.callbacks.early_stopping import RunEarlyStopping
from lightning_lp.commands.cli import main
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.evaluation.direction import LOGGED
from lightning_lp.evaluation.label_metrics import LABEL_METRICS
from lightning_lp.recommend.recommender import Recommender
from tests.journeys import best_checkpoint, fit, results, run_folders
from tests.killing import events

BOTH = [(RunCheckpoint, "checkpoint"), (RunEarlyStopping, "early_stopping")]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    return tmp_path / "movies"


def monitored(metric: str) -> list[str]:
    return [f"--checkpoint.monitor={metric}", f"--early_stopping.monitor={metric}"]


@pytest.mark.parametrize(("callback", "option"), BOTH)
def test_the_mode_follows_the_metric_unless_given(callback, option):
    for metric, mode in {
        "val/loss": "min",
        "val/calibration_error": "min",
        "train/loss_step": "min",
        "train/bpr": "min",
        "val/auroc": "max",
        "val/average_precision": "max",
        "val/ndcg@20": "max",
        "val/coverage@10": "max",
    }.items():
        assert callback(monitor=metric).mode == mode
        assert callback(monitor=metric, mode=mode).mode == mode
    assert callback(monitor="val/mine", mode="min").mode == "min"
    with pytest.warns(UserWarning, match=rf"--{option}.mode max: val/loss is better when small"):
        assert callback(monitor="val/loss", mode="max").mode == "max"
    with pytest.raises(
        UserError, match=rf"--{option}.monitor val/aurok is no .*did you mean val/auroc.*mode min or max"
    ):
        callback(monitor="val/aurok")
    with pytest.raises(UserError, match="test/auroc is no metric that is known here"):  # no fit measures it
        callback(monitor="test/auroc")


def test_without_a_metric_the_latest_is_kept_in_any_mode():
    assert (RunCheckpoint().monitor, RunCheckpoint(mode="max").mode) == (None, "max")


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "auroc"])
def test_the_best_epoch_is_that_of_the_best_value(metric, root):
    fit(root, "--trainer.max_epochs=6", "--model.lr=0.3", "--early_stopping.patience=2", *monitored(f"val/{metric}"))
    (folder,) = run_folders()
    curve = [value for _, value in events(folder)[f"val/{metric}"]]
    best = (min if metric == "loss" else max)(curve)
    assert results(folder)["validation"][metric] == pytest.approx(best, abs=1e-6)
    assert best not in (curve[0], curve[-1]), "choose another lr"
    assert len(curve) == min(6, curve.index(best) + 3)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "others"), [("random", LABEL_METRICS), ("temporal", ())])
def test_the_names_that_can_be_monitored_are_those_that_are_logged(strategy, others, root):
    losses = '--model.losses={"bce": 1, "softmax": 1, "bpr": 1}'
    fit(root, "--trainer.max_epochs=1", f"--data.split.strategy={strategy}", losses)
    logged = {name for name in events(run_folders()[0]) if name.startswith(("train/", "val/"))}
    assert set(LOGGED) - {f"val/{name}" for name in others} == logged - {"train/lr"}


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_fit_that_ends_before_its_first_validation_is_validated_and_kept(sanity, root):
    fit(root, "--trainer.max_steps=3", f"--trainer.num_sanity_val_steps={sanity}")
    (folder,) = run_folders()
    assert best_checkpoint(folder).name == "epoch=0-step=3.ckpt"
    assert 0.3 < results(folder)["validation"]["auroc"] < 1
    assert len(Recommender.load(folder).recommend(1, k=3)) == 3


@pytest.mark.slow
def test_the_end_of_a_short_fit_gives_way_to_the_first_that_is_measured(root):
    fit(root, "--trainer.max_steps=3")
    main(["fit", "--resume", "--trainer.max_steps=14"])
    (folder,) = run_folders()
    assert best_checkpoint(folder).name != "epoch=0-step=3.ckpt"
    assert results(folder)["validation"]["auroc"] == pytest.approx(events(folder)["val/auroc"][-1][1], abs=1e-6)


@pytest.mark.parametrize(
    ("top", "kept"),
    [
        (1, [24]),
        pytest.param(3, [24], marks=pytest.mark.slow),
        (-1, [12, 24]),
        pytest.param(0, [], marks=pytest.mark.slow),
    ],
)
def test_without_validation_the_latest_epoch_is_kept(top, kept, root, capsys):
    cli = fit(root, "--trainer.limit_val_batches=0", f"--checkpoint.save_top_k={top}")
    (folder,) = run_folders()
    files = {path.name for path in folder.glob("checkpoints/epoch=*")}
    assert files == {f"epoch={step // 12 - 1}-step={step}.ckpt" for step in kept}
    assert "validation" not in results(folder)
    assert results(folder)["timing"]["epochs"] == 2
    assert "results: " in capsys.readouterr().out
    cli.test_best()
    assert 0.3 < results(folder)["test"]["auroc"] < 1


@pytest.mark.slow
def test_a_metric_of_training_needs_no_validation(root):
    flags = ["--trainer.limit_val_batches=0", "--model.lr=1", "--early_stopping.patience=1", *monitored("train/loss")]
    cli = fit(root, *flags, "--trainer.max_epochs=9")
    curve = [value for _, value in events(run_folders()[0])["train/loss"]]
    assert float(cli.trainer.checkpoint_callback.best_model_score) == pytest.approx(min(curve))
    assert len(curve) < 9


@pytest.mark.parametrize(("_", "option"), BOTH)
def test_a_metric_that_validation_does_not_give_is_told_with_those_that_it_gives(_, option, root):
    message = rf"--{option}.monitor val/mine: there is no such metric after validation; .* val/auroc, val/average"
    flags = [f"--{option}.monitor=val/mine", f"--{option}.mode=max", "--trainer.logger=false"]
    with pytest.raises(UserError, match=message):
        fit(root, *flags)


@pytest.mark.slow
def test_early_stopping_that_is_not_strict_waits(root):
    fit(root, "--early_stopping.monitor=val/mine", "--early_stopping.mode=max", "--early_stopping.strict=false")


@pytest.mark.slow
def test_ranking_is_measured_in_the_epochs_that_are_validated(root):
    flags = ["--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2", "--ranking.every_n_epochs=2"]
    fit(root, *flags, *monitored("val/ndcg@20"))
    assert [step for step, _ in events(run_folders()[0])["val/ndcg@20"]] == [23]


@pytest.mark.parametrize("flag", ["--trainer.enable_checkpointing=false", "--trainer.barebones=true"])
def test_without_checkpoints_the_end_is_measured(flag, root, capsys):
    cli = fit(root, flag)
    assert not list(Path().rglob("*.ckpt"))
    out = capsys.readouterr().out
    assert "end of training" in out
    assert f"{cli.results.results['validation']['auroc']:.4f}" in out
    assert (flag != "--trainer.barebones=true") == Path("lightning_logs").exists()


@pytest.mark.slow
def test_early_stopping_of_an_older_run_goes_on(root):
    """It had Lightning's own class."""
    fit(root, "--trainer.max_epochs=1")
    last = run_folders()[0] / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    (key,) = (key for key in checkpoint["callbacks"] if key.startswith("RunEarlyStopping"))
    state = checkpoint["callbacks"].pop(key) | {"best_score": torch.tensor(2.0), "wait_count": 3}  # of 4
    checkpoint["callbacks"][EarlyStopping("val/auroc", mode="max").state_key] = state
    torch.save(checkpoint, last)
    cli = main(["fit", "--resume", "--trainer.max_epochs=4"])
    assert cli.trainer.current_epoch == 2
