"""Writes the Trainer's checkpoint files whole or not at all, and reads them without running what is in them."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from lightning_lp.atomic import replacing, sync
from lightning_lp.data.state import load_values
from lightning_lp.errors import UserError


class DurableCheckpointIO(TorchCheckpointIO):
    """Lets the Trainer write checkpoints so that a full disk, a kill or a power cut leaves the previous one.

    The Trainer loads with it, too: always with ``weights_only=True``.

    Args:
        only_own: remove a file only if this process wrote it, or has taken it over from the run that it continues:
            whatever paths a checkpoint remembers.
    """

    def __init__(self, *, only_own: bool = False) -> None:
        super().__init__()
        self._only_own, self._own = only_own, set[str]()

    def take_over(self, paths: Iterable[str]) -> None:
        """Counts these files as own."""
        self._own.update(map(os.path.realpath, paths))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        buffer = io.BytesIO()  # torch's own writer hides the reason when a disk is full
        torch.save(checkpoint, buffer)
        try:
            with replacing(Path(path)) as partial:
                partial.write_bytes(buffer.getbuffer())
        except OSError as error:
            raise UserError(
                f"the checkpoint {path} cannot be written: {error.strerror or error}; what was there before is kept: "
                "make room, then go on with --resume"
            ) from error
        self.take_over([str(path)])

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Loads a file that the Trainer or one of its parts has written, which need not be a whole checkpoint."""
        return load_values(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint, if it is there and may be removed."""
        is_free = not self._only_own or os.path.realpath(path) in self._own
        if is_free and os.path.exists(path):
            os.unlink(path)
            sync(Path(path).parent)
