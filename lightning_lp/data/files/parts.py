"""The files of a folder whose ratings a user has divided into training, validation and test."""

from pathlib import Path

from lightning_lp.data.files.layouts import DEFAULT, STANDARD, find_file, read_tables_of
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.files.records import CSV
from lightning_lp.data.schema import MOVIES_FILE, PART_FILES, Columns, Reading
from lightning_lp.errors import UserError


def find_parts(root: Path) -> dict[str, str]:
    """The file of each part that a folder holds, by ``train``, ``val`` and ``test``.

    Args:
        root: the folder.

    Raises:
        UserError: there is no such folder, it has no training part or nothing beside it, or two files of one part.
    """
    files = {}
    for part, names in PART_FILES.items():
        found = [file for name in names if (file := find_file(root, name)) is not None]
        if len(found) > 1:
            raise UserError(f"{root} holds {' and '.join(found)}, which are one part: leave one of them there.")
        if found:
            files[part] = found[0]
    if "train" not in files or len(files) == 1:
        lacks = "train.csv" if "train" not in files else "val.csv and no test.csv"
        raise UserError(
            f"{root} holds no {lacks}: --data.split.strategy given reads train.csv, and val.csv (or validation.csv), "
            "test.csv or both: put the files there, or name their folder with --data.root."
        )
    return files


def read_parts(
    root: Path, columns: Columns = STANDARD, reading: Reading = DEFAULT
) -> tuple[RawTable | None, dict[str, RawTable]]:
    """Read the movies of a folder, if it has any, and the ratings of each part.

    Args:
        root: the folder.
        columns: names of the columns, in all files.
        reading: which file holds the movies: its usual name may be absent, any other not.

    Returns:
        As ``layouts.read_layout``, with the ratings by part.

    Raises:
        UserError: the parts are not there, or a file cannot be read.
    """
    files = find_parts(root)
    movies = reading.movies_file and find_file(root, reading.movies_file)
    if movies is None and reading.movies_file not in (None, MOVIES_FILE):
        raise UserError(
            f"{root / reading.movies_file} not found: put the file there, or train on the ratings alone with "
            "--data.movies_file null."
        )
    described = (root / movies, CSV) if movies else None
    table, ratings = read_tables_of([(root / name, CSV) for name in files.values()], described, columns)
    return table, dict(zip(files, ratings, strict=True))
