"""The encoders that have a short name, and how one is made from its name and options."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from lightning_lp.errors import UserError, nearest
from lightning_lp.model.encoders.base import Encoder

ENCODERS = {
    "history": "lightning_lp.model.encoders.history.HistoryEncoder",
    "sequence": "lightning_lp.model.encoders.sequence.SequenceEncoder",
    "sage": "lightning_lp.model.encoders.sage.SageEncoder",
    "lightgcn": "lightning_lp.model.encoders.lightgcn.LightGCNEncoder",
    "hgt": "lightning_lp.model.encoders.hgt.HGTEncoder",
}
"""Short name -> dotted path."""
DEFAULT = "history"
OLD_OPTIONS = frozenset(
    ("num_layers", "hidden_channels", "dropout", "spectral_channels", "spectral_weight", "spectral_l2", "temperature")
)
"""Of encoders, which were the module's before 0.2."""


def short_name(path: str) -> str:
    """The short name of an encoder, or its dotted path if it has none."""
    return next((name for name, known in ENCODERS.items() if known == path), path)


def encoder_class(name: str) -> type[Encoder]:
    """The class of an encoder.

    Args:
        name: one of ``ENCODERS``, or a dotted path.

    Raises:
        UserError: there is none.
    """
    path = ENCODERS.get(name, name)
    module, _, attribute = path.rpartition(".")
    if not module:
        near = f"; did you mean {found}?" if (found := nearest(name, ENCODERS)) else ""
        names = ", ".join(ENCODERS)
        raise UserError(f"--model.encoder {name}: one of {names}, or the dotted path of your own, wanted{near}")
    try:
        found_class = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and needs another
        raise UserError(
            f"the encoder {name}: there is no module {error.name}: put its folder on PYTHONPATH, or install it"
        ) from error
    if not (isinstance(found_class, type) and issubclass(found_class, Encoder)):
        raise UserError(f"--model.encoder {name}: a subclass of lightning_lp.Encoder wanted")
    return found_class


def make_encoder(what: "Encoder | str | Mapping[str, Any] | None") -> Encoder:
    """An encoder from what a user, a settings file or a checkpoint says.

    Args:
        what: an encoder; its short name or dotted path; that as ``class_path``, options as ``init_args``; None: the
            default.
    """
    if isinstance(what, Encoder):
        return what
    asked: Mapping[str, Any] = what if isinstance(what, Mapping) else {"class_path": what or DEFAULT}
    return encoder_class(asked["class_path"])(**(asked.get("init_args") or {}))


def spec_of(encoder: Encoder) -> dict[str, Any]:
    """Dotted path and options of an encoder, from which :func:`make_encoder` makes another."""
    kind = type(encoder)
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": encoder.options}


def with_old_options(encoder: Any, old: Mapping[str, Any]) -> Any:
    """What :func:`make_encoder` takes, with options that modules had for their encoders before 0.2.

    Raises:
        TypeError: there never was such an option.
    """
    if not old:
        return encoder
    if isinstance(encoder, Encoder) or set(old) - OLD_OPTIONS:
        raise TypeError(f"LinkPredictionModule has no arguments {', '.join(old)}: give them to the encoder")
    name = encoder or DEFAULT
    known = signature(encoder_class(name)).parameters
    return {"class_path": name, "init_args": {key: value for key, value in old.items() if key in known}}
