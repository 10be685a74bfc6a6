"""Which files a continued run finds, takes over and may remove, without a fit."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_lp.checkpointing.checkpoint_io import DurableCheckpointIO
from lightning_lp.checkpointing.files import PARTS
from lightning_lp.checkpointing.places import KEY, checkpoint_folder, followed, relocated, run_of
from lightning_lp.errors import UserError

CONTENT: dict[str, Any] = {part: {} for part in PARTS}


def run_in(folder: Path, *names: str) -> dict[str, Any]:
    """Writes checkpoints into a new run, whose last one is outdated. Returns what Lightning saves of them."""
    kept = folder / "checkpoints"
    for name in (*names, "last.ckpt"):
        DurableCheckpointIO().save_checkpoint(CONTENT, kept / name)
    scores = {str(kept / name): torch.tensor(0.5 + i / 10) for i, name in enumerate(names)}
    worst, best = next(iter(scores)), list(scores)[-1]
    return {
        "dirpath": str(kept),
        "best_k_models": scores,
        "best_model_path": best,
        "best_model_score": scores[best],
        "kth_best_model_path": worst,
        "kth_value": scores[worst],
        "last_model_path": str(kept / "last.ckpt"),
        "outdated": [worst],
    }


def checkpoint(state: dict[str, Any], **known: Any) -> dict[str, Any]:
    return CONTENT | {"callbacks": {"RunCheckpoint{}": state}, KEY: known}


@pytest.mark.parametrize("how", ["stayed", "moved", "copied"])
def test_a_run_takes_over_what_lies_in_its_own_folder_now(tmp_path, how):
    state = run_in(tmp_path / "run", "a.ckpt", "epoch=1-val/auroc=0.9.ckpt")
    here = tmp_path / ("run" if how == "stayed" else "other") / "checkpoints"
    if how == "moved":
        (tmp_path / "run").rename(tmp_path / "other")
    elif how == "copied":
        run_in(tmp_path / "other", "a.ckpt", "epoch=1-val/auroc=0.9.ckpt")
    found, inside = relocated(state, state["dirpath"], here, str(here), "max")
    names = ["a.ckpt", "epoch=1-val/auroc=0.9.ckpt"]
    assert list(found["best_k_models"]) == [str(here / name) for name in names]
    assert found["best_model_path"] == str(here / names[1])
    assert found["kth_best_model_path"] == str(here / "a.ckpt")
    assert found["last_model_path"] == str(here / "last.ckpt")
    assert found["outdated"] == [str(here / "a.ckpt")]
    assert set(inside) == {str(here / name) for name in (*names, "last.ckpt")}


def test_what_is_in_another_folder_is_read_and_never_removed(tmp_path):
    state = run_in(tmp_path / "run", "a.ckpt", "b.ckpt")
    origin = state["dirpath"]
    for own in (tmp_path / "new", tmp_path):  # the second one holds the first folder
        found, inside = relocated(state, origin, Path(origin), str(own), "max")
        assert found["best_model_path"] == state["best_model_path"]
        assert found["best_k_models"] == state["best_k_models"]
        assert (found["last_model_path"], found["outdated"], inside) == ("", [], [])


def test_a_copy_goes_on_with_its_own_files_only(tmp_path):
    """The user's second callback keeps its files in a folder that the copy does not have."""
    state = run_in(tmp_path / "run", "a.ckpt")
    second = run_in(tmp_path / "elsewhere", "b.ckpt")
    run_in(tmp_path / "copy" / "run", "a.ckpt")
    here = tmp_path / "copy" / "run" / "checkpoints"
    _, inside = relocated(second, state["dirpath"], here, second["dirpath"], "max")
    assert inside == []
    _, inside = relocated(second, state["dirpath"], Path(state["dirpath"]), second["dirpath"], "max")
    assert len(inside) == 2


@pytest.mark.parametrize(("mode", "best", "worst"), [("max", "b.ckpt", "a.ckpt"), ("min", "a.ckpt", "b.ckpt")])
def test_what_is_gone_is_forgotten(tmp_path, mode, best, worst):
    state = run_in(tmp_path / "run", "a.ckpt", "b.ckpt", "c.ckpt")
    state["kth_best_model_path"] = state["best_model_path"]
    here = Path(state["dirpath"])
    (here / "c.ckpt").unlink()
    found, _ = relocated(state, state["dirpath"], here, state["dirpath"], mode)
    assert [Path(path).name for path in found["best_k_models"]] == ["a.ckpt", "b.ckpt"]
    assert found["best_model_path"] == str(here / best)
    assert found["best_model_score"] == found["best_k_models"][str(here / best)]
    assert found["kth_best_model_path"] == str(here / worst)
    assert math.isclose(found["kth_value"], found["best_k_models"][str(here / worst)])
    for file in here.iterdir():
        file.unlink()
    found, inside = relocated(state, state["dirpath"], here, state["dirpath"], mode)
    assert (found["best_k_models"], found["best_model_path"], found["best_model_score"]) == ({}, "", None)
    assert inside == []


def test_only_own_files_are_removed(tmp_path):
    mine, others = tmp_path / "mine.ckpt", tmp_path / "others.ckpt"
    io = DurableCheckpointIO(only_own=True)
    io.save_checkpoint(CONTENT, mine)
    DurableCheckpointIO().save_checkpoint(CONTENT, others)
    for path in (mine, others):
        io.remove_checkpoint(path)
    assert [path.name for path in tmp_path.iterdir()] == ["others.ckpt"]
    io.take_over([str(others)])
    io.remove_checkpoint(others)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_tells_its_run(tmp_path):
    state = run_in(tmp_path / "logs" / "run", "a.ckpt", "epoch=1-val/auroc=0.9.ckpt")
    run, kept = tmp_path / "logs" / "run", tmp_path / "logs" / "run" / "checkpoints"
    known = checkpoint(state, run=str(run))
    for name in ("last.ckpt", "a.ckpt", "epoch=1-val/auroc=0.9.ckpt"):
        assert checkpoint_folder(kept / name, known) == kept
        for content in (known, checkpoint(state), CONTENT):  # of today, of an older version, of weights alone
            assert run_of(kept / name, content) == run
    (tmp_path / "alone.ckpt").write_bytes((kept / "a.ckpt").read_bytes())
    with pytest.raises(UserError, match="this file lies in none"):
        run_of(tmp_path / "alone.ckpt", known)


def test_the_run_of_checkpoints_in_a_folder_of_their_own(tmp_path):
    """A copy of that folder alone is not a run; a copy of both is, and so are folders that were moved together."""
    run = tmp_path / "one" / "run"
    run.mkdir(parents=True)
    origin = str(tmp_path / "one" / "kept")
    for folder in (tmp_path / "one", tmp_path / "two"):
        DurableCheckpointIO().save_checkpoint(CONTENT, folder / "kept" / "last.ckpt")
    content = checkpoint({"dirpath": origin, "best_model_path": "", "best_k_models": {}}, run=str(run))
    assert run_of(tmp_path / "one" / "kept" / "last.ckpt", content) == run
    with pytest.raises(UserError, match="this file lies in none"):
        run_of(tmp_path / "two" / "kept" / "last.ckpt", content)
    (tmp_path / "two" / "run").mkdir()
    assert run_of(tmp_path / "two" / "kept" / "last.ckpt", content) == tmp_path / "two" / "run"
    (tmp_path / "one").rename(tmp_path / "three")
    assert run_of(tmp_path / "three" / "kept" / "last.ckpt", content) == tmp_path / "three" / "run"


def test_the_folder_of_an_original_is_not_followed(tmp_path):
    original, copy, logs = tmp_path / "run", tmp_path / "copy", tmp_path / "logs"
    for folder in (original, copy, logs):
        folder.mkdir()
    assert followed(str(logs), str(original), original) == logs
    assert followed(str(logs), str(original), copy) is None
    original.rmdir()  # it was moved
    assert followed(str(logs), str(original), copy) == logs
    logs.rmdir()
    assert followed(str(logs), str(original), copy) is None
