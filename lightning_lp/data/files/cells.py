r"""What a cell of a table may be: no value, a number, a whole number."""

import re

MARKS = (
    "", "\\N", "#N/A", "#N/A N/A", "#NA", "<NA>", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "-NaN", "-nan",
)  # fmt: skip
r"""What no one would call a user, a movie or a genre: no value in any column. ``\N`` is MySQL's, the rest pandas'."""

WORDS = ("NA", "na", "N/A", "n/a", "NaN", "nan", "NAN", "NULL", "Null", "null", "None", "none")
"""No value in a column of numbers; in one of texts, words like others: Namibia's code, the user ``null``."""

MISSING = (*MARKS, *WORDS)
"""What stands for no value in a column of numbers or times."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""A decimal number as text."""

WHOLE = re.compile(r"(0|-?[1-9]\d*)(\.0)?", re.ASCII)
"""A whole number as it is printed, or as a column of floats prints it: as a number it loses nothing."""


def loosely(text: str) -> str:
    """A number without the plus sign, leading zeros and ``.0`` that a program may add or lose on the way."""
    if not NUMBER.fullmatch(text):
        return text
    return text.removeprefix("+").removesuffix(".0").lstrip("0") or "0"
