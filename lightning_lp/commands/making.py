"""Says of an object that the command line cannot make which setting asks for it, and why."""

import re
from typing import Any

from jsonargparse import Namespace

from lightning_lp.commands.mistakes import own_code, raised_by, short, told
from lightning_lp.commands.packages import lacking, missing

_OTHER_NAMES = {"torch_xla": ("tpu", "xla"), "transformer_engine": ("transformer-engine",)}
"""Packages -> names in settings of the Trainer that need them, where these do not begin as the package's own."""


class Maker:
    """Makes the objects that settings ask for, and remembers the last that could not be made.

    The parser takes any exception as a sign that the setting is to be read in another way, and in the end raises one
    of its own, about all of these ways.
    """

    def __init__(self) -> None:
        self._failed: tuple[Any, Exception] | None = None

    def __call__(self, kind: Any, *args: Any, **kwargs: Any) -> Any:
        """Makes one object."""
        try:
            return kind(*args, **kwargs)
        except Exception as error:
            self._failed = kind, error
            raise

    def refusal(self, error: Exception, settings: Namespace) -> str | None:
        """What the user can put right, or none: then the exception speaks for itself, or is a fault of the program's.

        Args:
            error: what came out of the making of all objects.
            settings: the settings of the command.
        """
        if self._failed is not None and (error is self._failed[1] or raised_by(error).startswith("jsonargparse")):
            kind, cause = self._failed
            what = _asking_for(kind, settings)
            return _refusal(what, cause) if what else None
        return missing(error, _asking(error, settings)) if isinstance(error, ImportError) else None


def _refusal(what: str, error: Exception) -> str | None:
    if isinstance(error, ImportError):
        return missing(error, what)
    if isinstance(error, Warning):  # Python was told to stop at those
        return None
    place = own_code(error)
    return f"{what} cannot be made: {told(error)}{f' ({place})' if place else ''}"


def _asking_for(kind: Any, settings: Namespace) -> str | None:
    """The option that names the class of an object, with that name."""
    for key, value in settings.items(branches=True):
        for item in value if isinstance(value, list) else [value]:
            path = str(item.get("class_path")) if isinstance(item, Namespace) else ""
            if path.split(".")[-1] == kind.__name__:
                return f"--{key} {short(path)}"
    return None


def _asking(error: ImportError, settings: Namespace) -> str:
    """The setting of the Trainer that asks for a package that is missing, where it can be told."""
    package = lacking(error)[0]
    names = _OTHER_NAMES.get(package, (re.split("[-_]", package)[0],))
    for key, value in settings.trainer.items():
        if isinstance(value, str) and package and any(name in value.lower() for name in names):
            return f"--trainer.{key} {value}"
    return "this command"
