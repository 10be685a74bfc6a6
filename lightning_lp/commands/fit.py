"""The commands of the Trainer: ``fit``, ``validate``, ``test`` and ``predict``."""

from collections.abc import Sequence

from lightning_lp.commands.cli import main
from lightning_lp.commands.configs import begun


def fit(args: Sequence[str]) -> None:
    """Trains with the settings ``default``, changed by the options, and tests the best checkpoint.

    Where the options split the links by time, the settings are ``next``.
    """
    main(["fit", *begun(args)], then_test=True)


def validate(args: Sequence[str]) -> None:
    """Measures a checkpoint on the validation part."""
    main(["validate", *args])


def test(args: Sequence[str]) -> None:
    """Measures a checkpoint on the test part."""
    main(["test", *args])


def predict(args: Sequence[str]) -> None:
    """Writes the probabilities of given pairs."""
    main(["predict", *args])
