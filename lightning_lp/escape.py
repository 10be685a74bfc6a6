r"""What files hold is shown, never obeyed: by the terminal, a spreadsheet, a browser, or TensorBoard's Markdown.

JSON and Parquet, whose readers obey nothing, hold texts as they are.
"""

import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what steers a terminal, turns the direction of a line, or cannot be seen or encoded."""
_JOINERS = "\u200c\u200d"
"""Of those, what Persian, Hindi and emoji are spelled with."""
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MARKUP = re.compile(r"[&<>\[\]|*_`\\]")


def visible(text: str, keep: str = "") -> str:
    r"""The text with codes such as ``\x1b`` for the characters that would steer a terminal or cannot be seen.

    Args:
        text: any text.
        keep: characters that stay as they are, such as line breaks.
    """

    def shown(found: re.Match[str]) -> str:
        c = found[0]
        is_harmless = c in keep or c in _JOINERS or unicodedata.category(c) not in _STEERING
        return c if is_harmless else c.encode("unicode_escape").decode()

    return re.sub(r"[^ -~]", shown, text)


def markdown(text: str, keep: str = "") -> str:
    """The visible text with character references for what Markdown, a cell of its tables, or HTML would obey."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", visible(text, keep))


def cell(value: Any) -> Any:
    """What a spreadsheet shows as the value: a text that it would take for a formula comes after an apostrophe.

    As OWASP advises ("CSV injection"). Numbers, and texts that are numbers (``-5``), stay as they are: so do ids,
    unless they are such texts as ``@ann``.
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """What a :func:`cell` with an apostrophe stands for; any other text is itself."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


def cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with each name and text as a :func:`cell`, to be written as CSV."""
    table = table.rename(columns=cell)
    texts = table.select_dtypes(exclude=["number", "bool"]).columns
    table[texts] = table[texts].map(cell)
    return table
