"""Other spellings of settings: short names of encoders, and options as they were given in earlier versions."""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lightning_lp.checkpointing.resume import CONFIG_FILE
from lightning_lp.data.settings import GROUPS, OLD_GROUPS, OLD_NAMES, grouped, leaves
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.registry import (
    DEFAULT,
    ENCODERS,
    OLD_OPTIONS,
    encoder_class,
    make_encoder,
    spec_of,
    with_old_options,
)

ENCODER = "--model.encoder"
_NAMING = (ENCODER, f"{ENCODER}.help")
"""Options whose value is the name of an encoder."""
_OLD = OLD_OPTIONS - {"num_layers"}  # which followed from the hops that were sampled
_SHOWN = 3
_OLD_FLAG = re.compile(rf"--model\.({'|'.join(sorted(_OLD))})(=.*)?", re.DOTALL)


def spelled_flags(args: Sequence[str]) -> list[str]:
    """The options with dotted paths for short names of encoders, and the encoder's own options below it."""
    old: set[str] = set()
    renamed = [_OLD_FLAG.sub(partial(_below_encoder, old), arg) for arg in args]
    if old and os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes one is enough
        print(
            f"note: {', '.join(f'--model.{name}' for name in sorted(old))}: options of the encoder are now given as "
            f"{ENCODER}.{min(old)}; the old names go with the next version",
            file=sys.stderr,
        )
    renamed = _named_now(_in_leaves(renamed))
    found = []
    for before, arg in zip(["", *renamed], renamed, strict=False):
        name, given, value = arg.partition("=")
        if name in _NAMING and given:
            arg = f"{name}={_path(value)}"
        elif before in _NAMING:
            arg = _path(arg)
        found.append(arg)
    return found


def _in_leaves(args: Sequence[str]) -> Iterator[str]:
    """The options with a whole group that there is no more (``--data.reading FILE``) as one option for each setting."""
    rest = iter(args)
    for arg in rest:
        name, is_set, value = arg.partition("=")
        if name not in {f"--data.{group}" for group in OLD_GROUPS}:
            yield arg
            continue
        text = value if is_set else next(rest, "")
        try:
            settings = dict(yaml.safe_load(Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text))
        except (yaml.YAMLError, OSError, ValueError, TypeError):
            raise UserError(f"{name} {text}: settings by name wanted, or a YAML file of them") from None
        for leaf, each in settings.items():
            yield f"{name}.{leaf}={each if isinstance(each, str) else json.dumps(each)}"


def _named_now(args: Iterable[str]) -> list[str]:
    """The options of the data by their names of now; says which are not there any more."""
    found, moved = [], dict[str, str]()
    for arg, following in pairwise([*args, ""]):
        name, is_set, value = arg.partition("=")
        old = name.removeprefix("--data.") if name.startswith("--data.") else ""
        new = OLD_NAMES.get(old)
        if old in GROUPS and not re.fullmatch(r"\w+", value if is_set else following):
            new = None  # settings of the group
        if new:
            moved[name] = f"--data.{new}"
        found.append(f"--data.{new}{is_set}{value}" if new else arg)
    note_moved(moved)
    return found


def moved_settings(settings: Any) -> dict[str, str]:
    """Of settings as a YAML file has them the old names, and what they are called now."""
    data = settings.get("data") if isinstance(settings, dict) else None
    return {
        f"data.{name}": f"data.{OLD_NAMES[name]}"
        for name, value in leaves(data if isinstance(data, dict) else {})
        if name in OLD_NAMES and not (name in GROUPS and value is None)
    }


def note_moved(moved: Mapping[str, str], path: str = "") -> None:
    """Says which options, or settings in a file, have other names now; of several processes one is enough.

    Nobody wrote the ``config.yaml`` of an older run: of that it says nothing.
    """
    if moved and Path(path).name != CONFIG_FILE and os.environ.get("LOCAL_RANK", "0") == "0":
        told = [f"{old} is now {new}" for old, new in moved.items()]
        if path and len(told) > _SHOWN:
            told[_SHOWN:] = [f"and {len(told) - _SHOWN} more (lightning-lp fit --help shows all)"]
        print(
            f"note: {f'{path}: ' if path else ''}{', '.join(told)}; the old names go with the next version",
            file=sys.stderr,
        )


def spelled_settings(settings: Any) -> Any:
    """The same for settings as a YAML file has them; what is no such mapping is returned as it is."""
    if isinstance(settings, dict) and isinstance(settings.get("data"), dict):
        settings = {**settings, "data": grouped(settings["data"])}
    model = settings.get("model") if isinstance(settings, dict) else None
    if not isinstance(model, dict):
        return settings
    old = {name: value for name, value in model.items() if name in _OLD}
    encoder = model.get("encoder")
    hops = _hops(settings.get("data"))
    if isinstance(encoder, str) and hops and old:
        old["num_layers"] = len(hops)
    if isinstance(encoder, str | None) and (encoder or old):
        name = encoder or DEFAULT
        encoder = with_old_options(name, old) if old else {"class_path": name}
    if isinstance(encoder, Mapping) and "class_path" in encoder:
        path = encoder["class_path"]
        encoder = {**encoder, "class_path": ENCODERS.get(path, path)}
    rest = {name: value for name, value in model.items() if name not in _OLD}
    return {**settings, "model": {**rest, "encoder": encoder} if encoder is not None else rest}


def _hops(data: Any) -> Any:
    """The fan-out, if it is given."""
    sampling = data.get("sampling") if isinstance(data, dict) else None
    return sampling.get("num_neighbors") if isinstance(sampling, dict) else None


def _path(name: str) -> str:
    """The dotted path of an encoder; what may be a path or a whole setting is left to the parser."""
    if name not in ENCODERS and re.fullmatch(r"\w+", name) and name != "null":
        encoder_class(name)  # refuses it
    return ENCODERS.get(name, name)


def fixed_options(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model, by the names that follow ``--model.``, from the hyper-parameters in a checkpoint."""
    old = {name: value for name, value in hparams.items() if name in OLD_OPTIONS}
    encoder = spec_of(make_encoder(with_old_options(hparams["encoder"], old)))
    options = {f"encoder.{name}": value for name, value in encoder["init_args"].items()}
    rest = {name: value for name, value in hparams.items() if name not in OLD_OPTIONS}
    return {**rest, "encoder": encoder["class_path"], **options}


def _below_encoder(old: set[str], flag: re.Match[str]) -> str:
    old.add(flag[1])
    return f"{ENCODER}.{flag[1]}{flag[2] or ''}"
