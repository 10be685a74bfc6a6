"""Old names of attributes, for one release."""

import warnings
from typing import Any


class Renamed:
    """Gives what an attribute is called now, and warns whoever asks by its old name.

    Args:
        name: what it is called now.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._message = f"{owner.__name__}.{name} is {self._name} now; the old name goes with the next release"

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        warnings.warn(self._message, DeprecationWarning, stacklevel=2)
        return getattr(instance, self._name)
