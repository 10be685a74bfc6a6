"""Says in one sentence what is wrong with a flag, a YAML file or a setting, and which right name is nearest."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException

from lightning_lp.errors import UserError

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

_REFUSE = ("pytorch_lightning", "lightning_fabric", "torch.optim")
"""Libraries whose own ``raise ValueError`` and the like mean a setting of the user's."""


def explain(message: str, flags: Iterable[str]) -> str:
    """Turns the parser's message into one line, with the nearest of the right ``flags``."""
    if wrong := re.match(r'Parser key "([\w.]+)":', message):
        return _explain_value(wrong[1], message)
    line = " ".join(message.split())
    known = [flag for flag in flags if not flag.endswith(".help")]
    # `--flag` as typed, or the name that a message quotes.
    for name in re.findall(r"(?<!\S)--[\w.]+|(?<=option ')[\w.]+", message):
        flag = name if name.startswith("--") else f"--{name}"
        if flag not in known:
            return line + _hint(nearest(flag, known))
    if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", line):
        return line + _hint(nearest(choice[1], re.findall(r"[\w-]+", choice[2])))
    return line


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``, or else whose last part is: ``--lr`` is like ``--model.lr``."""
    known = list(known)
    last: dict[str, str] = {}
    for other in known:
        last.setdefault(other.split(".")[-1], other)
    wanted = name.lstrip("-").split(".")[-1]
    within = [part for part in last if wanted in part.split("_")]  # epochs in max_epochs
    for word, words in ((name, known), (wanted, last)):
        if near := difflib.get_close_matches(word, words, n=3, cutoff=0.75):
            best = min(near, key=lambda other: (-difflib.SequenceMatcher(None, other, word).ratio(), other))
            return best if words is known else last[best]
    return last[min(within, key=lambda part: (len(part), part))] if within else None


def _explain_value(key: str, message: str) -> str:
    given = re.search(r"(?:Got value|Given value): (.*)\Z", message, re.DOTALL)
    if given is None:
        return " ".join(message.split())
    value = " ".join(given[1].split())
    choices = [text.strip("'\" ") for part in re.findall(r"Literal\[(.*?)\]", message) for text in part.split(",")]
    kinds = [_KINDS.get(kind, kind) for kind in re.findall(r"Expected a <class '(\w+)'>", message)]
    wanted = [f"one of {', '.join(dict.fromkeys(choices))}"] * bool(choices) + list(dict.fromkeys(kinds))
    if not wanted or "class_path" in message or "import path" in message:
        return " ".join(message.split())
    return f"--{key} {value}: {' or '.join(wanted)} wanted" + _hint(nearest(value, choices))


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
    for name in _leaves(path, settings, names):
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
    """What the user can put right about an exception, or none: then it is a fault of the program's."""
    if isinstance(error, UserError | MisconfigurationException | OSError):  # OSError: a full disk, a forbidden folder
        return str(error)
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return f"out of memory: lower --data.batch_size, --model.hidden_channels or other sizes ({text[:200]})"
    if found := re.match(r"(\S+) does not have a deterministic implementation", text):
        return (
            f"--trainer.deterministic true: {found[1]} has no deterministic form on this device: "
            "train on the CPU, or give --trainer.deterministic warn"
        )
    if isinstance(error, ValueError | TypeError | RuntimeError) and _raised_by(error).startswith(_REFUSE):
        return f"a setting is refused: {text}"
    return None


def _raised_by(error: Exception) -> str:
    """Name of the module with the ``raise``."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace else ""
