"""Reads checkpoint files without running what is in them."""

from pathlib import Path
from typing import Any

from lightning_lp.data.state import DATA_STATE, load_values
from lightning_lp.errors import UserError

PARTS = ("state_dict", "hyper_parameters", DATA_STATE, "datamodule_hyper_parameters")
"""What makes a checkpoint one of this project's."""


def read_checkpoint(path: Path | str, *, lazily: bool = False) -> dict[str, Any]:
    """Loads a checkpoint file to the CPU. Nothing in the file is run: a pickle with code in it is refused.

    Args:
        path: the file.
        lazily: read the tensors only where they are used, for what the rest of the file tells.

    Raises:
        UserError: the file is damaged, not a checkpoint of ``lightning_lp``, or holds code.
    """
    checkpoint = load_values(path, lazily=lazily)
    missing = [part for part in PARTS if part not in checkpoint]
    if missing == list(PARTS[2:]) and "num_movies" in checkpoint["hyper_parameters"]:
        raise UserError(
            f"{path} knows no users and movies by their ids: it was trained without the data module; train with "
            "trainer.fit(model, datamodule=data), and not with loaders"
        )
    if missing:
        raise UserError(
            f"{path} is not a checkpoint of lightning_lp, or is damaged: it has no {missing[0]}; give another"
        )
    return checkpoint
