from pathlib import Path

import pytest
import torch

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.loader import LinkLoader
from lightning_lp.data.schema import RATES
from lightning_lp.data.synthetic import write_movielens

BATCHES = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "movies"
    write_movielens(folder, num_users=20, num_movies=40, num_ratings=500, seed=0)
    return folder


def loader(root: Path, num_workers: int = 0) -> LinkLoader:
    data = MovieLensDataModule(root=str(root), batch_size=50, num_workers=num_workers)
    data.setup()
    return data.train_dataloader()


def labels(batches: LinkLoader, epoch: int) -> list[list[int]]:
    batches.sampler.set_epoch(epoch)
    return [batch[RATES].input_id.tolist() for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_goes_on_with_the_batch_after_the_last_one_handed_out(root, num_workers):
    wanted = {epoch: labels(loader(root), epoch) for epoch in (3, 4)}
    assert len(wanted[3]) == BATCHES
    for taken in (0, 1, 4, BATCHES - 1):
        stopped, again = loader(root, num_workers), loader(root)
        stopped.sampler.set_epoch(3)
        batches = iter(stopped)
        for _ in range(taken + 1):
            next(batches)
        again.load_state_dict(stopped.state_dict())
        assert labels(again, 3) == wanted[3][taken:]  # the batch under way comes again
        assert labels(again, 4) == wanted[4]


def test_the_place_in_another_epoch_says_nothing(root):
    batches = loader(root)
    batches.load_state_dict({"epoch": 1, "batch": 5})
    assert labels(batches, 2) == labels(loader(root), 2)


def test_a_loader_leaves_the_global_random_numbers_to_the_model(root):
    state = torch.get_rng_state()
    labels(loader(root), 0)
    assert torch.get_rng_state().equal(state)
