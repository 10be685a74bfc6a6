"""Turns settings into plain values: what a checkpoint can hold that is read without running code, and a YAML file."""

from collections.abc import Mapping, MutableMapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor


def plain(value: Any, name: str) -> Any:
    """The value as None, a bool, a number, a text, or a list or dictionary of such.

    Paths, devices and enumerations become texts, NumPy's numbers and tensors those of Python, tuples lists.

    Args:
        value: of a setting.
        name: of that setting, for the message.

    Raises:
        TypeError: it cannot be turned into one.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return plain(value.value, name)
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return plain(value.tolist(), name)
    if isinstance(value, PurePath | torch.device):
        return str(value)
    if isinstance(value, Mapping):
        return {plain(key, name): plain(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    raise TypeError(
        f"{name} is a {type(value).__name__}, which no checkpoint can hold: give a number, a text, a list or a "
        "dictionary of such"
    )


def readable(config: Any) -> Any:
    """A copy of parsed settings in which the enumerations and devices that classes have by default are texts."""
    if isinstance(config, Namespace):
        return Namespace({name: readable(item) for name, item in vars(config).items()})  # type: ignore[no-untyped-call]
    if isinstance(config, list):
        return [readable(item) for item in config]
    return plain(config, "a setting") if isinstance(config, Enum | torch.device) else config


def make_plain(hparams: MutableMapping[str, Any]) -> None:
    """Turns all hyper-parameters of a module or data module into plain values, before anything is done with them.

    Raises:
        TypeError: one cannot be turned into one.
    """
    hparams.update({name: plain(value, name) for name, value in hparams.items()})
