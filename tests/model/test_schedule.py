"""The schedule of the learning rate follows whoever else sets it."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder
from pytorch_lightning.tuner import Tuner
from torch.optim.lr_scheduler import LambdaLR

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.model.schedule import WarmCosine, warm_cosine

SIZES = ("num_users", "num_movies", "num_features", "num_terms", "max_terms")
TOTAL = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MovieLensDataModule:
    folder = tmp_path_factory.mktemp("data") / "movies"
    write_movielens(folder, num_users=40, num_movies=60, num_ratings=900, seed=0)
    return MovieLensDataModule(root=str(folder), batch_size=64)  # 12 steps an epoch


def optimiser(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=lr)


def rates(schedule: LambdaLR, steps: int) -> list[float]:
    """The rate of each of the next steps."""
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def test_undisturbed_it_is_the_plain_schedule_bit_for_bit():
    plain = LambdaLR(optimiser(), lambda step: warm_cosine(step, TOTAL))
    assert rates(WarmCosine(optimiser(), lambda: TOTAL), TOTAL + 5) == rates(plain, TOTAL + 5)


def test_a_rate_that_somebody_else_sets_is_the_new_level():
    schedule = WarmCosine(optimiser(), lambda: TOTAL)
    rates(schedule, 15)
    schedule.optimizer.param_groups[0]["lr"] *= 0.5
    half = [0.05 * warm_cosine(step, TOTAL) for step in range(15, TOTAL + 2)]
    assert rates(schedule, TOTAL - 13) == pytest.approx(half)
    schedule.optimizer.param_groups[0]["lr"] = 1.0  # at the end nothing can be scaled
    assert rates(schedule, 3) == [1.0, 0.0, 0.0]


def test_it_starts_again_from_another_rate():
    schedule = WarmCosine(optimiser(), lambda: TOTAL)
    rates(schedule, 3)
    schedule.restart_from(0.3)
    assert rates(schedule, 10) == pytest.approx([0.3 * warm_cosine(step, TOTAL) for step in range(3, 13)])


@pytest.mark.parametrize("stop", [14, 15])
def test_what_was_followed_is_continued_exactly(stop):
    """Stopped before the step that takes note of the rate that was set, and after it."""
    whole = WarmCosine(optimiser(), lambda: TOTAL)
    rates(whole, 14)
    whole.optimizer.param_groups[0]["lr"] *= 0.3
    rates(whole, stop - 14)
    part = WarmCosine(optimiser(), lambda: TOTAL)
    part.optimizer.load_state_dict(whole.optimizer.state_dict())
    part.load_state_dict(whole.state_dict())
    assert rates(part, 20) == rates(whole, 20)


class Rates(pl.Callback):
    """Notes the rate of each step; may set one, too."""

    def __init__(self, halve_at: int = -1) -> None:
        self.halve_at = halve_at
        self.found: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.halve_at:
            trainer.optimizers[0].param_groups[0]["lr"] *= 0.5

    def on_before_optimizer_step(self, trainer: pl.Trainer, _: pl.LightningModule, optimizer: torch.optim.Adam) -> None:
        self.found.append(optimizer.param_groups[0]["lr"])


def module(data: MovieLensDataModule, **options: object) -> LinkPredictionModule:
    pl.seed_everything(0)
    sizes = {name: getattr(data, name) for name in SIZES}
    return LinkPredictionModule(**sizes, hidden_channels=8, spectral_channels=8, **{"lr": 1e-3, **options})


def trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    every = {"accelerator": "cpu", "num_sanity_val_steps": 0, "default_root_dir": folder, "max_epochs": 2}
    return pl.Trainer(**every, **quiet, callbacks=list(callbacks))


def curve(lr: float, schedule: str) -> list[float]:
    return [lr * (warm_cosine(step, 24) if schedule == "cosine" else 1.0) for step in range(24)]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:The `lr_find` call should")
def test_what_a_learning_rate_finder_finds_is_used(schedule, data, tmp_path):
    seen = Rates()
    finder = LearningRateFinder(min_lr=1e-4, max_lr=0.5, num_training_steps=20)
    model = module(data, lr_schedule=schedule)
    trainer(tmp_path, finder, seen).fit(model, datamodule=data)
    found = finder.optimal_lr.suggestion()
    assert found != 1e-3
    assert model.hparams["lr"] == found
    assert seen.found == pytest.approx(curve(found, schedule))


def test_so_is_what_the_tuner_finds(data, tmp_path):
    model, seen = module(data), Rates()
    run = trainer(tmp_path, seen)
    found = Tuner(run).lr_find(model, datamodule=data, min_lr=1e-4, max_lr=0.5, num_training=20).suggestion()
    seen.found.clear()
    run.fit(model, datamodule=data)
    assert found != 1e-3
    assert seen.found == pytest.approx(curve(found, "cosine"))


def test_a_search_in_the_middle_of_a_fit_is_followed(data, tmp_path):
    class Milestone(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:  # as a LearningRateFinder at a milestone ends
                pl_module.hparams["lr"] = trainer.optimizers[0].param_groups[0]["lr"] = 0.02

    seen = Rates()
    trainer(tmp_path, Milestone(), seen).fit(module(data), datamodule=data)
    assert seen.found == pytest.approx([*curve(1e-3, "cosine")[:12], *curve(0.02, "cosine")[12:]])


def test_a_callback_that_halves_the_rate_halves_it(data, tmp_path):
    seen = Rates(halve_at=12)
    trainer(tmp_path, seen).fit(module(data), datamodule=data)
    assert seen.found == pytest.approx([*curve(1e-3, "cosine")[:12], *curve(5e-4, "cosine")[12:]])


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_rate_that_was_found_is_continued_by_a_module_that_does_not_know_it(data, tmp_path):
    """The checkpoint's rate stands, as that of the optimiser does in any other module."""
    run = trainer(tmp_path)
    run.fit(module(data, lr=0.02), datamodule=data)
    seen = Rates()
    longer = trainer(tmp_path / "longer", seen)
    longer.fit_loop.max_epochs = 3
    longer.fit(module(data), datamodule=data, ckpt_path=run.checkpoint_callback.best_model_path)
    assert seen.found == pytest.approx([0.0, *(0.02 * warm_cosine(step, 36) for step in range(25, 36))])
