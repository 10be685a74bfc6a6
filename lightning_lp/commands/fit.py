"""The commands of the Trainer: ``fit``, ``validate``, ``test`` and ``predict``."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import yaml

from lightning_lp.commands.cli import main
from lightning_lp.commands.configs import packaged, resolved

_STRATEGY = "--data.split.strategy", "--data.split"  # the second before 0.2
_BY_TIME = "temporal", "leave_last_out"


def fit(args: Sequence[str]) -> None:
    """Trains with the settings ``default``, changed by the options, and tests the best checkpoint.

    Where the options split the links by time, the settings are ``next``.
    """
    args = resolved(args)
    main(["fit", "--config", str(packaged("next" if _splits_by_time(args) else "default")), *args], then_test=True)


def validate(args: Sequence[str]) -> None:
    """Measures a checkpoint on the validation part."""
    main(["validate", *args])


def test(args: Sequence[str]) -> None:
    """Measures a checkpoint on the test part."""
    main(["test", *args])


def predict(args: Sequence[str]) -> None:
    """Writes the probabilities of given pairs."""
    main(["predict", *args])


def _splits_by_time(args: Sequence[str]) -> bool:
    """Whether the last of the options, and of the settings that they name, that say how to split say by time."""
    strategies = list(_strategies(args))
    return bool(strategies) and strategies[-1] in _BY_TIME


def _strategies(args: Sequence[str]) -> Iterator[str]:
    for arg, following in pairwise([*args, ""]):
        name, is_set, value = arg.partition("=")
        value = value if is_set else following
        if name in _STRATEGY:
            yield value
        elif name == "--config" and (strategy := _strategy_of(Path(value))):
            yield strategy


def _strategy_of(path: Path) -> str | None:
    """What a settings file says; one that cannot be read is refused where settings are."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    for name in ("data", "split", "strategy"):  # before 0.2 the strategy was the split
        found = found.get(name) if isinstance(found, dict) else found
    return found if isinstance(found, str) else None
