"""Finds the wanted columns among the names that a file has, or says what is wrong with its header."""

from collections.abc import Mapping
from types import MappingProxyType

from lightning_lp.data.files.cells import NUMBER
from lightning_lp.errors import UserError

COLUMN_OPTIONS: Mapping[str, str] = MappingProxyType(
    {name: f"--data.columns.{name}" for name in ("user", "movie", "rating", "time", "title", "genres")}
)
"""The options that name the columns, by the package's own names."""


def find_columns(
    header: str,
    found: tuple[str, ...],
    names: Mapping[str, str],
    required: frozenset[str],
    options: Mapping[str, str] = COLUMN_OPTIONS,
) -> dict[str, int]:
    """Where the wanted columns stand; optional ones may be absent.

    Args:
        header: the place of the header, for errors: the file, and the line if it has lines.
        found: the names that the file has.
        names: the package's name of each column wanted -> its name in the file.
        required: those that must be there.
        options: the options that name them, if there are any.

    Raises:
        UserError: a required column is missing, or a name stands twice.
    """
    listed = " ".join(", ".join(found).split())
    shown = f"columns wanted: {', '.join(names.values())}; found: {listed[:200]}{'...' * (len(listed) > 200)}"
    lower = {name.lower() for name in found}
    # An optional column under a name in another case is a slip: without it titles or ratings would be lost.
    missing = [c for c, n in names.items() if n not in found and (c in required or n.lower() in lower)]
    if missing:
        absent = " and no column ".join(names[column] for column in missing)
        hint = _hint(found, {column: names[column] for column in missing}, options)
        raise UserError(f"{header}: no column {absent} ({shown}). {hint}")
    for column, name in names.items():
        if found.count(name) > 1:
            another = f", or name the right one with {options[column]}" if column in options else ""
            raise UserError(
                f"{header}: {found.count(name)} columns are called {name}, one is wanted ({shown}). "
                f"Rename the others{another}."
            )
    return {column: found.index(name) for column, name in names.items() if name in found}


def _hint(found: tuple[str, ...], missing: Mapping[str, str], options: Mapping[str, str]) -> str:
    """What most likely went wrong with a header that lacks names, and the remedy."""
    text = ",".join(found)
    if text.startswith("<"):
        return "It looks like a web page: get the file again."
    if any(NUMBER.fullmatch(name) for name in found):
        return f"The first line seems to be data: add a header line with {' and '.join(missing.values())}."
    for separator, spoken in (("::", "'::'"), (";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        if separator in text:
            return f"Its fields seem to be separated by {spoken}: save it with ',' and a header line."
    if {name.lower() for name in missing.values()} <= {name.lower() for name in found}:
        return "The names differ only in upper and lower case: write them as wanted."
    named = [options[column] for column in missing if column in options]
    return f"If the file has another name for it, give that with {' and '.join(named)}." if named else "Rename it."
