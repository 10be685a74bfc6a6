"""Each setting of Lightning's Trainer trains, or is refused in one sentence before a step is made."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import callbacks

from lightning_lp.callbacks.continuation import Continuation
from lightning_lp.commands.cli import main, settings_of
from lightning_lp.commands.mistakes import mistake
from lightning_lp.errors import UserError
from tests.journeys import QUIET, SMALL, fit, results, run_folders, run_script


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = [*QUIET, "--trainer.logger=false"]
"""Drawing takes longer than the rest."""
WORK = [
    "fast_dev_run=1",
    "fast_dev_run=2",
    "max_epochs=-1 max_steps=15",
    "max_epochs=0",
    "min_epochs=2 min_steps=20",
    "max_time=00:00:00:01",
    "limit_train_batches=2 limit_val_batches=1",
    "limit_train_batches=0.3 limit_val_batches=0.0",
    "limit_train_batches=0",
    "limit_test_batches=0 limit_predict_batches=0",
    "overfit_batches=1",
    "val_check_interval=0.25",
    "val_check_interval=4",
    "val_check_interval=20 check_val_every_n_epoch=null",
    "val_check_interval=00:00:00:01",
    "val_check_interval=0.5 max_steps=3",
    "check_val_every_n_epoch=5",
    "num_sanity_val_steps=-1 log_every_n_steps=0 enable_progress_bar=true enable_model_summary=true",
    "accumulate_grad_batches=5 gradient_clip_val=0.5 benchmark=true",
    "accumulate_grad_batches=100",
    "gradient_clip_val=0.5 gradient_clip_algorithm=value deterministic=true inference_mode=false",
    "use_distributed_sampler=false detect_anomaly=true sync_batchnorm=true reload_dataloaders_every_n_epochs=1",
    "profiler=simple default_root_dir=elsewhere enable_autolog_hparams=false plugins=DurableCheckpointIO",
    "barebones=true limit_val_batches=0",
    "enable_checkpointing=false limit_val_batches=0",
]
"""Settings that have nothing to do with one another share a run."""


@pytest.mark.slow
@pytest.mark.parametrize("flags", WORK)
@pytest.mark.filterwarnings(
    "ignore:You requested to overfit", "ignore:.*Profiler", "ignore:Checkpoint directory .* exists"
)
def test_what_lightning_allows_trains(flags, root):
    given = [f"--trainer.{flag}" for flag in flags.split()]
    assert run_script("fit.py", f"--data.root={root}", "--trainer.max_epochs=2", *QUICK, *SMALL, *given) == 0


REFUSED = {
    "val_check_interval=100": "must be less than or equal to the number of the training batches (12)",
    "limit_val_batches=0.5": "`limit_val_batches=1.0`",
    "limit_test_batches=0.01": "--trainer.limit_test_batches 0.01: of 1 batches none would be left",
    "overfit_batches=0.5": "`limit_val_batches=1.0`",
    "barebones=true fast_dev_run=1": "Development run is not meant for raw speed",
    "strategy=ddp_spawn": "give --trainer.strategy ddp",
    "strategy=ddp_fork": "give --trainer.strategy ddp",
    "strategy=ddp_notebook_find_unused_parameters_true": "give --trainer.strategy ddp",
    "strategy=DDPStrategy strategy.start_method=spawn": "give --trainer.strategy ddp",
}


@pytest.mark.slow
@pytest.mark.parametrize("flags", REFUSED)
@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_what_cannot_be_is_refused_before_a_step(flags, root, monkeypatch):
    def no_step(*args: object) -> None:
        raise AssertionError("a step was made")

    monkeypatch.setattr(Continuation, "on_train_batch_start", no_step)
    given = [f"--trainer.{flag}" for flag in flags.split()]
    base = ["--trainer.accelerator=cpu", "--trainer.num_sanity_val_steps=0"]
    with pytest.raises((UserError, ValueError, MisconfigurationException)) as error:
        main(["fit", f"--data.root={root}", *base, *SMALL, *given])
    assert REFUSED[flags] in str(mistake(error.value))


# Lightning's callbacks

OPTIONS = {
    "EarlyStopping": ["monitor=val/loss"],
    "GradientAccumulationScheduler": ['scheduling={"0": 2}'],
    "OnExceptionCheckpoint": ["dirpath=elsewhere"],
    "StochasticWeightAveraging": ["swa_lrs=0.01"],
}
"""What has to be given."""
NEEDS_CODE = {"Callback", "LambdaCallback", "ModelPruning", "ThroughputMonitor"}
"""Do nothing by themselves, or take a function."""
CALLBACKS = sorted(set(callbacks.__all__) - NEEDS_CODE)


def flags_of(name: str) -> list[str]:
    return [f"--trainer.callbacks+={name}", *(f"--trainer.callbacks.{option}" for option in OPTIONS.get(name, ()))]


@pytest.mark.slow
def test_the_settings_of_callbacks_are_written_and_read():
    settings = settings_of([flag for name in CALLBACKS for flag in flags_of(name)])
    found = settings["trainer"]["callbacks"]
    assert [callback["class_path"].rpartition(".")[2] for callback in found] == CALLBACKS
    Path("again.yaml").write_text(yaml.safe_dump(settings))
    assert settings_of(["--config=again.yaml"]) == settings


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["Timer", "StochasticWeightAveraging", "RichProgressBar", "EarlyStopping", "GradientAccumulationScheduler"]
)
@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
def test_a_runs_own_config_trains_the_same_again(name, root):
    base = [*QUIET, "--trainer.max_epochs=3", f"--trainer.enable_progress_bar={'true' if 'Bar' in name else 'false'}"]
    main(["fit", f"--data.root={root}", *base, *SMALL, *flags_of(name)])
    (first,) = run_folders()
    main(["fit", "--config", str(first / "config.yaml")])
    assert results(run_folders()[1])["validation"] == results(first)["validation"]


def test_an_enumeration_and_a_device_are_texts_in_a_config():
    for name, key, text in (("Timer", "interval", "step"), ("StochasticWeightAveraging", "device", "cpu")):
        (found,) = settings_of(flags_of(name))["trainer"]["callbacks"]
        assert found["init_args"][key] == text


def test_a_users_own_early_stopping_stands_beside_ours(root):
    own = [
        "--trainer.callbacks+=EarlyStopping",
        "--trainer.callbacks.monitor=val/auroc",
        "--trainer.callbacks.mode=max",
    ]
    cli = main(["fit", f"--data.root={root}", "--trainer.fast_dev_run=1", "--trainer.accelerator=cpu", *SMALL, *own])
    assert sum(isinstance(callback, pl.callbacks.EarlyStopping) for callback in cli.trainer.callbacks) == 2


@pytest.mark.slow
def test_weights_alone_are_not_continued(root):
    fit(root, "--trainer.max_epochs=1", "--checkpoint.save_weights_only=true")
    with pytest.raises(UserError, match=r"holds weights alone \(--checkpoint.save_weights_only true\).*: train anew"):
        main(["fit", "--resume", "--trainer.max_epochs=2"])
