"""The one exception that stands for a user's mistake, and what its sentence is made of."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lightning_lp.escape import visible

TRACEBACK = "LIGHTNING_LP_TRACEBACK"
"""An environment variable: where it is set, the command line shows where each exception arose."""
_LONGEST = 1200


class UserError(Exception):
    """Something that the user can put right: a file, a column, a value or a setting.

    Its text is one clear sentence or two: where it is, what was found, what was wanted and what to do.
    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, text: str) -> None:
        line = visible(" ".join(text.splitlines()))  # what a file held may hold line breaks, or be a whole book
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 300]} ... {line[-300:]}")


def require(right: bool, option: str, value: object, wanted: str) -> None:
    """Refuses a setting.

    Raises:
        UserError: it is not ``right``.
    """
    if not right:
        raise UserError(f"{option} {value}: {wanted} wanted")


@contextmanager
def naming(flag: str, **names: str) -> Iterator[None]:
    """Lets errors name what a user of the command line gave, where the library names its arguments.

    In errors raised inside, a name in backquotes becomes what ``names`` says of it, or else ``flag`` and the name:
    with ``naming("--data.split.", link="rating")`` `num_val` reads --data.split.num_val, and `link` rating.
    """
    try:
        yield
    except UserError as error:
        text = re.sub(r"`(\w+)`", lambda match: names.get(match[1], flag + match[1]), str(error))
        raise UserError(text) from error.__cause__


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``, or else whose last part is: ``--lr`` is like ``--model.lr``."""
    known = list(known)
    last: dict[str, str] = {}
    for other in known:
        last.setdefault(other.split(".")[-1], other)
    wanted = name.lstrip("-").split(".")[-1]
    if wanted in last:
        return last[wanted]
    within = [part for part in last if wanted in part.split("_")]  # epochs in max_epochs
    for word, words in ((name, known), (wanted, last)):
        if near := difflib.get_close_matches(word, words, n=3, cutoff=0.75):
            best = min(near, key=lambda other: (-difflib.SequenceMatcher(None, other, word).ratio(), other))
            return best if words is known else last[best]
    return last[min(within, key=lambda part: (len(part), part))] if within else None
