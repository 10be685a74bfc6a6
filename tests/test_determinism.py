"""The same seed on the same machine gives the same weights, however the batches are sampled."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_lp.__main__ import run
from lightning_lp.data.sources.synthetic import write_movielens
from tests.journeys import fit, run_folders


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    yield tmp_path / "movies"
    torch.use_deterministic_algorithms(False)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine has cores
def test_workers_and_deterministic_mode_change_no_bit_of_the_weights(root):
    for flags in ([], ["--data.num_workers=1"], ["--data.num_workers=3"], ["--trainer.deterministic=true"]):
        fit(root, *flags)
    fit(root, "--seed_everything=1")
    first, *same, other_seed = map(weights, run_folders())
    assert len(same) == 3
    for again in same:
        assert first.keys() == again.keys()
        assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.movie_emb.weight"], other_seed["encoder.movie_emb.weight"])


def test_an_operation_that_cannot_be_deterministic_is_named(capsys):
    def put(args: object) -> None:
        torch.use_deterministic_algorithms(True)
        try:
            torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))
        finally:
            torch.use_deterministic_algorithms(False)

    with pytest.raises(SystemExit) as end:
        run(put, [])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "error: --trainer.deterministic true: put_ has no deterministic form on this device: train on" in error
