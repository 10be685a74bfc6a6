"""The movies' table: one row per movie, and what is done about rated movies that it lacks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_lp.data.files.cells import MARKS, loosely
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.genres import JOINT, read_genres
from lightning_lp.data.ids import IdMap, Index, id_notes, joint_ids, read_ids
from lightning_lp.data.schema import MOVIE, Reading
from lightning_lp.errors import UserError

_MAX_UNKNOWN = 0.01
"""Share of the rating rows whose movie the movies' file may lack; more means that the files do not match."""


@dataclass(frozen=True)
class Catalogue:
    """The movies, and what became of the rows of their file.

    Attributes:
        movies: columns ``movie``, ``title``, ``genres`` (``Action|Comedy``, or empty); one row per movie, sorted by id.
        rows_read: data rows of the file; 0 if there is none.
        dropped: reason -> rows left out.
        added: how many movies are rated and described nowhere, but kept.
        notes: what a user should know.
    """

    movies: pd.DataFrame
    rows_read: int
    dropped: dict[str, int]
    added: int
    notes: list[str]


def read_movies(
    file: RawTable | None, ratings: Sequence[RawTable], reading: Reading
) -> tuple[Catalogue, IdMap, list[Index]]:
    """The movies that a file describes or, without one, those that are rated.

    Args:
        file: the movies' file, if there is one.
        ratings: the files with ratings.
        reading: how movies are read.

    Returns:
        The movies; those of them that are rated; and for each rating row of each file the index among the latter, -1
        where blank.

    Raises:
        UserError: the file has no movie or describes one in two ways, or too many ratings are of movies it lacks.
    """
    found = read_ids([*([] if file is None else [file]), *ratings], MOVIE, as_text=reading.text_ids)
    rated, rows = joint_ids(found[-len(ratings) :])
    if file is None:
        notes = ["movies are those that are rated, without titles and genres"]
        notes += id_notes(ratings[0].names[MOVIE], rated)
        return Catalogue(_bare_movies(rated.ids), 0, {}, len(rated), notes), rated, rows
    ids, movie_rows = found[0]
    movies, dropped, notes = _clean_movies(file, ids, movie_rows, reading.genres_separator)
    unknown = rated.ids[ids.index(rated.ids) < 0]
    if reading.unknown_movies == "refuse":
        _check_known(file, ratings, ids, rated, rows)
    added = len(unknown) if reading.unknown_movies == "keep" else 0
    if added:
        movies = pd.concat([movies, _bare_movies(unknown)]).sort_values(MOVIE, ignore_index=True)
        notes.append(f"{added:,} rated movies that {file.path.name} lacks are kept, without titles and genres")
    notes += id_notes(file.names[MOVIE], IdMap(movies[MOVIE].to_numpy()))
    return Catalogue(movies, file.rows, dropped, added, notes), rated, rows


def _clean_movies(
    file: RawTable, ids: IdMap, rows: Index, separator: str
) -> tuple[pd.DataFrame, dict[str, int], list[str]]:
    """One row per movie, sorted by id, how many rows were left out for which reason, and notes for the user.

    Raises:
        UserError: there is no movie, or one is described in two ways.
    """
    if not len(ids):
        raise UserError(f"{file.path} has no movie rows: get the file again.")
    titles, genres, notes = [""] * file.rows, [""] * file.rows, list[str]()
    if "title" in file:
        titles = ["" if (title := text.strip()) in MARKS else title for text in file.texts("title")]
    if "genres" in file:
        genres, notes = read_genres(file.texts("genres").tolist(), separator)
    of_node: list[int | None] = [None] * len(ids)  # the row that describes it
    for row, node in enumerate(rows.tolist()):
        if node < 0:
            continue
        if (other := of_node[node]) is None:
            of_node[node] = row
        elif titles[row] != titles[other] or set(genres[row].split(JOINT)) != set(genres[other].split(JOINT)):
            raise UserError(
                f"{file.path} {file.unit}s {file.line(other)} and {file.line(row)}: {file.names[MOVIE]} "
                f"{ids.ids[node]} stands for two different movies: remove one of the {file.unit}s or give it "
                "another id."
            )
        elif genres[row] < genres[other]:  # the same, in another order: which stays depends on no order of rows
            of_node[node] = row
    kept = [row for row in of_node if row is not None]
    movies = pd.DataFrame(
        {MOVIE: ids.ids, "title": [titles[row] for row in kept], "genres": [genres[row] for row in kept]}
    )
    movies["title"] = movies["title"].where(movies["title"] != "", pd.Series(ids.ids).astype(str))
    counts = {"blank_id": int((rows < 0).sum()), "repeated_movie": int((rows >= 0).sum()) - len(ids)}
    return movies, {reason: count for reason, count in counts.items() if count}, notes


def _bare_movies(ids: npt.NDArray[np.generic]) -> pd.DataFrame:
    """Movies of which nothing but the id is known, which stands in for the title."""
    return pd.DataFrame({MOVIE: ids, "title": pd.Series(ids).astype(str), "genres": ""})


def _check_known(
    movies_file: RawTable, ratings: Sequence[RawTable], known: IdMap, rated: IdMap, rows: Sequence[Index]
) -> None:
    """Refuses files that do not seem to belong together.

    Args:
        movies_file: the file that describes movies.
        ratings: the files that rate them.
        known: the movies of the first.
        rated: the movies of the others.
        rows: for each row of the others the index in ``rated``, -1 where blank.

    Raises:
        UserError: over 1 % of the rating rows are of unknown movies.
    """
    is_unknown = known.index(rated.ids) < 0
    per_id = np.sum([np.bincount(of[of >= 0], minlength=len(rated)) for of in rows], axis=0)
    count, total = int(per_id[is_unknown].sum()), int(per_id.sum())
    if count <= _MAX_UNKNOWN * total:
        return
    unknown = [str(value) for value in rated.ids[is_unknown]]
    first = ", ".join(unknown[:5]) + ", ..." * (len(unknown) > 5)
    raise UserError(
        f"Only {len(rated) - len(unknown)} of the {len(rated)} distinct movie ids in "
        f"{' and '.join(str(file.path) for file in ratings)} are found in {movies_file.path}: {len(unknown)} are "
        f"unknown ({first}), with {count} of {total} rating rows. "
        f"{_alike(known, unknown)}The two files do not seem to belong together: use two of one data set; or, if they "
        "do, give --data.unknown_movies keep (as movies without title and genres) or drop (without their "
        "ratings)."
    )


def _alike(known: IdMap, unknown: list[str]) -> str:
    """A sentence if ids are the same but for how a number is written, or nothing."""
    there = {loosely(str(value)): str(value) for value in known.ids}
    pairs = [(value, there[bare]) for value in unknown if (bare := loosely(value)) in there]
    if not pairs:
        return ""
    return (
        f"{len(pairs)} of them differ from known ones in leading zeros, a plus sign or '.0' alone ({pairs[0][0]!r} and "
        f"{pairs[0][1]!r}): write ids alike in both files. "
    )
