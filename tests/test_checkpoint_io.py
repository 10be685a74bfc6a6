import errno
import os
from pathlib import Path

import pytest
import torch

from lightning_lp.checkpointing.checkpoint_io import DurableCheckpointIO
from lightning_lp.checkpointing.files import PARTS, read_checkpoint
from lightning_lp.errors import UserError
from tests.killing import fill_the_disk

WHOLE = {part: {"weight": torch.arange(3.0)} for part in PARTS}


class Code:
    """A pickle of this makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "a.ckpt"
    DurableCheckpointIO().save_checkpoint(WHOLE, path)
    assert DurableCheckpointIO().load_checkpoint(path)["state_dict"]["weight"].tolist() == [0, 1, 2]
    DurableCheckpointIO().remove_checkpoint(path)
    DurableCheckpointIO().remove_checkpoint(path)  # is gone already
    assert not list(path.parent.iterdir())


def test_what_lightning_writes_beside_checkpoints_is_read_too(tmp_path):
    """A launcher hands bare weights from one process to another."""
    path = tmp_path / "weights.ckpt"
    weights = torch.nn.Linear(2, 3).state_dict()
    DurableCheckpointIO().save_checkpoint(weights, path)
    found = DurableCheckpointIO().load_checkpoint(path)
    assert found.keys() == weights.keys()
    assert torch.equal(found["weight"], weights["weight"])
    with pytest.raises(UserError, match="it has no state_dict"):  # named by a user it is refused
        read_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    made, path = tmp_path / "made", tmp_path / "evil.ckpt"
    torch.save(WHOLE | {"callbacks": Code(made)}, path)
    for read in (read_checkpoint, DurableCheckpointIO().load_checkpoint):
        with pytest.raises(UserError, match=r"evil\.ckpt is not a checkpoint of lightning_lp, or is damaged"):
            read(path)
    with pytest.raises(UserError, match="is damaged"):  # whatever the Trainer asks for
        DurableCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not made.exists()


def test_damaged_and_foreign_files_get_one_sentence(tmp_path):
    path = tmp_path / "a.ckpt"
    DurableCheckpointIO().save_checkpoint(WHOLE, path)
    content = path.read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"a\.ckpt is not a checkpoint of lightning_lp, or is damaged"):
            read_checkpoint(path)
    for foreign in ({"state_dict": {}}, [1, 2], torch.zeros(3)):
        torch.save(foreign, path)
        with pytest.raises(UserError, match="is not a checkpoint"):
            read_checkpoint(path)
    with pytest.raises(UserError, match=r"none\.ckpt cannot be read: No such file"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    DurableCheckpointIO().save_checkpoint(WHOLE, path)
    before = path.read_bytes()
    fill_the_disk(monkeypatch)
    with pytest.raises(UserError, match=f"a.ckpt cannot be written: {os.strerror(errno.ENOSPC)}"):
        DurableCheckpointIO().save_checkpoint(WHOLE | {"more": 1}, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]
