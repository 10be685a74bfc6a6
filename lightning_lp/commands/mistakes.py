"""Says in one sentence what is wrong with a flag, a YAML file or a setting, and which right name is nearest."""

import re
import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from inspect import signature
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import callbacks, loggers

from lightning_lp.commands.packages import missing
from lightning_lp.commands.spelling import moved_settings, note_moved, spelled_settings
from lightning_lp.errors import TRACEBACK, UserError, nearest
from lightning_lp.model.encoders.registry import ENCODERS, short_name

_KINDS = {
    "int": "a whole number",
    "float": "a finite number",
    "str": "a text",
    "bool": "true or false",
    "list": "a list such as [1,2]",
    "dict": "settings by name",
    "NoneType": "null",
}
"""Python's types in a user's words."""

_CLASSES = [name for name in (*callbacks.__all__, *loggers.__all__) if name != "LitLogger"]
"""Lightning's callbacks and loggers; of the latter the Trainer's options take all but one."""
_REFUSE = ("pytorch_lightning", "lightning_fabric", "jsonargparse", "torch.optim", "torch.distributed")
"""Libraries whose own exceptions mean a setting of the user's."""
_CALLERS = (*_REFUSE, "lightning_lp.commands.making")
"""What calls code that only a setting names."""
_READINGS = ("Expected a ", "Expected an instantiatable class", "Not a valid subclass", "Import path ")
"""How reasons begin that only say that a value is not of some type."""
_NEUTRAL = {"torch", "torch_geometric", "torchmetrics", "numpy", "numba", "pandas", "scipy", *sys.stdlib_module_names}
"""Packages that work for whoever calls them: the exceptions are the caller's."""


def explain(message: str, flags: Iterable[str]) -> str:
    """Turns the parser's message into one line, with the nearest of the right ``flags``."""
    if wrong := re.match(r'Parser key "([\w.]+)":', message):
        return _explain_value(wrong[1], message)
    line = " ".join(message.split())
    known = [flag for flag in flags if not flag.endswith(".help")]
    known += sorted({f"--model.encoder.{option}" for path in ENCODERS.values() for option in _options(path)})
    # `--flag` as typed, or the name that a message quotes.
    for name in re.findall(r"(?<!\S)--[\w.]+|(?<=option ')[\w.]+", message):
        flag = name if name.startswith("--") else f"--{name}"
        if flag not in known:
            return line + _hint(nearest(flag, known))
    if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", line):
        return line + _hint(nearest(choice[1], re.findall(r"[\w-]+", choice[2])))
    return line


def _explain_value(key: str, message: str) -> str:
    given = re.search(r"(?:Got value|Given value): (.*)\Z", message, re.DOTALL)
    if given is None:
        return " ".join(message.split())
    value = " ".join(given[1].split())
    reasons = _reasons(message)
    for reason in reasons:
        if found := re.match(r"Problem with given class_path '(.+?)':\n(.+)", reason, re.DOTALL):
            return _explain_class(key, found[1], textwrap.dedent(found[2]))
    if option := re.fullmatch(r"NestedArg\(key='(.*)', val='(.*)'\)", value):
        return f"--{key}.{option[1]} {option[2]}: of which class? name it with --{key} before"
    if others := [reason for reason in reasons if not reason.startswith(_READINGS)]:
        return f"--{key} {value}: {' '.join(others[0].split())}"
    choices = [text.strip("'\" ") for part in re.findall(r"Literal\[(.*?)\]", message) for text in part.split(",")]
    found_kinds = re.findall(r"Expected a <class '(\w+)'>", message)
    if "mport path" in message and not set(found_kinds).intersection(("int", "float", "str")):
        kind = re.search(r"does not correspond to a subclass of (\w+)", message)
        problem = f"this is no {kind[1]}" if kind else "there is no such class"
        near = _hint(nearest(value, _CLASSES)) if not kind else ""
        return f"--{key} {value}: {problem}: give the name of one, or the dotted path if it is your own{near}"
    wanted = [f"one of {', '.join(dict.fromkeys(choices))}"] * bool(choices)
    wanted += list(dict.fromkeys(_KINDS.get(kind, kind) for kind in found_kinds))
    if not wanted:
        return " ".join(message.split())
    return f"--{key} {value}: {' or '.join(wanted)} wanted" + _hint(nearest(value, choices))


def _reasons(message: str) -> list[str]:
    """Why each way to read a value fails, where there are several."""
    _, is_there, below = message.partition("Errors:\n")
    indent = len(below) - len(below.lstrip())
    lines = takewhile(lambda line: not line.strip() or line.startswith(" " * indent), below.splitlines())
    text = textwrap.dedent("\n".join(lines)) if is_there else ""
    return [textwrap.dedent(reason).strip() for reason in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


def _explain_class(key: str, path: str, problem: str) -> str:
    """What is wrong with the options of a class, or with the class itself."""
    name = short(path)
    if inner := re.match(r'Parser key "([\w.]+)":', problem):
        return _explain_value(f"{key}.{inner[1]}", problem)
    if lacks := re.match(r"the following arguments are required: (.+)", problem):
        return f"--{key} {name}: give {' and '.join(f'--{key}.{each}' for each in re.split(', *', lacks[1]))}, too"
    if option := re.match(r"Option '(\w+)' is not accepted", problem):
        return f"--{key} {name} has no option {option[1]}{_hint(nearest(option[1], _options(path)))}"
    if module := re.match(r"No module named '(.+)'", problem):
        here = "put its folder on PYTHONPATH" if path.startswith(module[1].split(".")[0]) else "install it"
        return f"--{key} {name}: there is no module {module[1]}: {here}"
    return f"--{key} {name}: {' '.join(problem.split())}"


def _options(path: str) -> list[str]:
    """The names of the options of a class; none if there is no such class."""
    module, _, name = path.rpartition(".")
    try:
        return list(signature(getattr(import_module(module), name)).parameters)
    except (ImportError, AttributeError, ValueError, TypeError):
        return []


def short(path: str) -> str:
    """The dotted path of a class, or its name alone, if that is enough to find it."""
    return path.split(".")[-1] if path.startswith(_REFUSE) else short_name(path)


def _hint(name: str | None) -> str:
    return f"; did you mean {name}?" if name else ""


class _StrictLoader(yaml.SafeLoader):
    """Refuses what YAML reads without a word: a key that is given twice, of which the last would win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                problem = f"{key.value} is given twice" if isinstance(key, yaml.ScalarNode) else "a name is no text"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def check_config(path: str, flags: Iterable[str], linked: Mapping[str, str]) -> None:
    """Refuses a YAML file that is none, or whose settings would be read wrongly or not at all.

    Args:
        path: the file.
        flags: all options, ``--data.batch_size``.
        linked: settings that follow from others -> those others.

    Raises:
        UserError: with file, line or setting, and the nearest right name.
    """
    try:
        settings = yaml.load(Path(path).read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise UserError(f"--config {path} cannot be read ({error.strerror}): name another file") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"{path}{line}: this is not YAML that can be used: {problem}") from None
    names = [flag.removeprefix("--") for flag in flags if not flag.endswith(".help")]
    note_moved(moved_settings(settings), path)
    for name in _leaves(path, spelled_settings(settings), names):
        if name in linked:
            raise UserError(f"{path}: {name} follows from {linked[name]}: leave it out and set that")
        if name not in names:
            raise UserError(f"{path}: there is no setting {name}{_hint(nearest(name, names))}")


def _leaves(path: str, settings: Any, names: list[str], group: str = "") -> Iterator[str]:
    """The dotted names of the settings; what stands below a name that is no group is its value."""
    if not isinstance(settings, dict):
        example = next((name for name in names if name.startswith(f"{group}.")), "trainer.max_epochs")
        shown = " ".join(str(settings).split())[:60]
        raise UserError(f"{path}: {group or 'the file'} is {shown!r}: settings by name wanted, such as {example}")
    for key, value in settings.items():
        name = f"{group}.{key}" if group else str(key)
        if any(other.startswith(f"{name}.") for other in names):
            yield from _leaves(path, value, names, name)
        else:
            yield name.removesuffix("+")  # `callbacks+` adds to a list


def mistake(error: Exception) -> str | None:
    """What the user can put right about an exception, or none: then it is a fault of the program's.

    Exceptions out of classes of the user's own, which Lightning or the parser calls, are told with their place.
    """
    text = " ".join(str(error).split())
    if isinstance(error, UserError | MisconfigurationException | OSError):  # OSError: a full disk, a forbidden folder
        return text
    if isinstance(error, ImportError):
        return missing(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return f"out of memory: lower --data.batch_size, --model.encoder.hidden_channels or other sizes ({text[:200]})"
    if found := re.match(r"(\S+) does not have a deterministic implementation", text):
        return (
            f"--trainer.deterministic true: {found[1]} has no deterministic form on this device: "
            "train on the CPU, or give --trainer.deterministic warn"
        )
    if isinstance(error, Warning):  # Python was told to stop at those
        return None
    if raised_by(error).startswith(_REFUSE):
        return f"a setting is refused: {told(error)}"
    place = own_code(error)
    return f"{place}: {told(error)} ({TRACEBACK}=1 shows all calls)" if place else None


def told(error: Exception) -> str:
    """An exception in words: its kind, too, unless its text is meant to be read alone."""
    text = " ".join(str(error).split())
    is_sentence = isinstance(error, UserError | MisconfigurationException | ValueError | TypeError | RuntimeError)
    return text if is_sentence and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def raised_by(error: Exception) -> str:
    """Name of the module with the ``raise``, or that asked an object for what it does not have."""
    calls = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name != "__getattr__"]
    return str(calls[-1].f_globals.get("__name__", "")) if calls else ""


def own_code(error: Exception) -> str:
    """Where in code that is neither a library's nor ours, but called by one, an exception arose; or an empty text."""
    calls = list(traceback.walk_tb(error.__traceback__))
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in calls]
    last = max((i for i, name in enumerate(names) if name.startswith(_CALLERS)), default=len(calls))
    called = [i for i in range(last + 1, len(calls)) if names[i].split(".")[0] not in _NEUTRAL]
    if not called or any(names[i].startswith("lightning_lp") for i in called):
        return ""
    frame, line = calls[called[-1]]
    return f"{names[called[-1]]}.{frame.f_code.co_qualname} line {line}"
