"""A checkpoint is read as a whole once; what only a little is wanted of is mapped, not read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_lp.checkpointing.runs import load_run
from lightning_lp.commands.cli import main
from lightning_lp.recommend.recommender import Recommender
from tests.journeys import QUIET, best_checkpoint, fit

RUN = Path("lightning_logs") / "version_0"


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run."""
    folder = tmp_path_factory.mktemp("reads")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(root)
    return folder


@pytest.fixture
def reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[tuple[str, bool]]]:
    """Calls something, and lists the checkpoints that it reads: name, and whether the tensors are read at once."""
    monkeypatch.chdir(folder)
    found, load = [], torch.load

    def counted(path: Any, *args: Any, mmap: bool | None = None, **options: Any) -> Any:
        found.append((Path(path).name, not mmap))
        return load(path, *args, mmap=mmap, **options)

    monkeypatch.setattr(torch, "load", counted)

    def call(work: Callable[[], Any]) -> list[tuple[str, bool]]:
        found.clear()
        work()
        return list(found)

    return call


LAST = ("last.ckpt", False)
"""Of a run folder, whether it is further on than ``results.json`` says is asked of its ``last.ckpt``."""


@pytest.mark.parametrize("load", [Recommender.load, load_run])
def test_a_model_is_read_once(reads, load):
    best = (best_checkpoint(RUN).name, True)
    assert reads(lambda: load(RUN)) == [LAST, best]
    assert reads(lambda: load(best_checkpoint(RUN))) == [best]


def test_a_command_maps_a_checkpoint_once(reads, root):
    """LightningCLI reads it for the model's settings, and the Trainer for the weights."""
    best = best_checkpoint(RUN)
    test = ["test", f"--data.root={root}", f"--ckpt_path={best}", "--trainer.logger=false", *QUIET]
    assert reads(lambda: main(test)) == [(best.name, False), (best.name, True), (best.name, True)]


def test_a_continued_fit_reads_its_checkpoint_once_more_to_find_it(reads):
    found = reads(lambda: main(["fit", "--resume", str(RUN), "--trainer.max_epochs=3", *QUIET]))
    of_last = [is_whole for name, is_whole in found if name == "last.ckpt"]
    assert of_last[of_last.index(True) :] == [True, False, True, True]
