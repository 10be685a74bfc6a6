"""The settings that come with the package: ``--config NAME`` finds them by name."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lightning_lp.errors import UserError, nearest

_FOLDER = Path(__file__).parent / "configs"
_OPTIONS = ("--config", "-c")
_OLD_FOLDER = ("scripts", "configs")
"""Where the files were until 0.1.0; such a path works for one release more."""
_STRATEGY = "--data.split.strategy"
_SPLIT = "--data.split"
_BY_TIME = "temporal", "leave_last_out"


def names() -> list[str]:
    """The names of the settings there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def packaged(name: str) -> Path:
    """The file with the settings of a name."""
    return _FOLDER / f"{name}.yaml"


def resolved(flags: Sequence[str]) -> list[str]:
    """Replaces each ``--config NAME`` by the path of the packaged file; a file of the user's own goes before it.

    Raises:
        UserError: a bare name is neither a file nor one of the packaged settings.
    """
    found = list(flags)
    for i, flag in enumerate(flags):
        option, is_set, value = flag.partition("=")
        if option not in _OPTIONS:
            continue
        if is_set:
            found[i] = f"--config={_path(value)}"
        elif i + 1 < len(flags):
            found[i : i + 2] = "--config", _path(flags[i + 1])
    return found


def begun(flags: Sequence[str]) -> list[str]:
    """The flags of a training after the settings that it begins with: ``default``, or ``next`` for a split by time."""
    flags = resolved(flags)
    strategies = list(_strategies(flags))
    name = "next" if strategies and strategies[-1] in _BY_TIME else "default"
    return ["--config", str(packaged(name)), *flags]


def _strategies(flags: Sequence[str]) -> Iterator[str]:
    """What the flags, and the settings that they name, say of how to split, one after the other."""
    for flag, following in pairwise([*flags, ""]):
        name, is_set, value = flag.partition("=")
        value = value if is_set else following
        found: Any = None
        if name == _STRATEGY:
            found = value
        elif name == _SPLIT:
            found = _strategy_of(value)
        elif name == "--config":
            found = _read(Path(value))
        if isinstance(found, str):
            yield found


def _read(path: Path) -> Any:
    """What a settings file says; one that cannot be read is refused where settings are."""
    try:
        return _strategy_of(path.read_text(encoding="utf-8"), "data", "split")
    except (OSError, ValueError):
        return None


def _strategy_of(text: str, *names: str) -> Any:
    """The strategy in YAML, or in JSON, below some names; before 0.2 the split itself was the strategy."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    for name in (*names, "strategy"):
        found = found.get(name) if isinstance(found, dict) else found
    return found


def _path(value: str) -> str:
    """The file that a value of ``--config`` means; what is no name is a path, and told where it is read."""
    path = Path(value)
    if path.is_file():
        return value
    if path.parts[-3:-1] == _OLD_FOLDER and path.suffix == ".yaml" and path.stem in names():
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes one is enough
            print(f"note: {value} is no file any more: write --config {path.stem}", file=sys.stderr)
        return str(packaged(path.stem))
    if value in names():
        return str(packaged(value))
    if re.fullmatch(r"[\w-]+", value):
        hint = f"; did you mean {near}?" if (near := nearest(value, names())) else ""
        raise UserError(f"--config {value}: no such file, nor one of the settings {', '.join(names())}{hint}")
    return value
