"""Lists of movies for people and programs: a table, JSON, CSV, or one file for all users."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_lp.atomic import replacing
from lightning_lp.errors import UserError
from lightning_lp.escape import cell, cells, visible
from lightning_lp.recommend.reasons import Why
from lightning_lp.recommend.topk import Recommendation

Format = Literal["table", "json", "csv"]

_SHOWN_REASONS = 3
_HEADER = ("rank", "movieId", "title", "genres", "score")


def print_list(movies: Sequence[Recommendation], form: Format, whys: Sequence[Why] = ()) -> None:
    """Prints a list of movies to standard output, with what their scores are made of, if that is given of each."""
    if form == "json":
        rows = [(*movie[:3], list(movie.genres), movie.score) for movie in movies]
        told: list[dict[str, Any]] = [dict(zip(_HEADER, row, strict=True)) for row in rows]
        for movie, why in zip(told, whys, strict=False):
            movie["why"] = why_as_dict(why)
        print(json.dumps(told, indent=2))
        return
    header = (*_HEADER, *(["because of"] if whys else []))
    because = [[_because(why)] for why in whys] or [[]] * len(movies)
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        for (rank, movie_id, title, genres, score), extra in zip(movies, because, strict=True):
            shown = map(cell, (rank, movie_id, title, "|".join(genres)))
            writer.writerow([*shown, f"{score:.6f}", *map(cell, extra)])
    else:
        shown_rows = (
            (str(m.rank), str(m.movie_id), m.title, ", ".join(m.genres), f"{m.score:.4f}", *extra)
            for m, extra in zip(movies, because, strict=True)
        )
        print_table(header, shown_rows)


def why_as_dict(why: Why) -> dict[str, Any]:
    """What a score is made of, for JSON."""
    names = ("movieId", "title", "contribution")
    reasons = [dict(zip(names, reason, strict=True)) for reason in why.reasons]
    return {"logit": why.logit, "reasons": reasons, "bias": why.bias, "rest": why.rest}


def _because(why: Why) -> str:
    """The movies that speak most for a recommendation; those that speak against it are no reason."""
    shown = [reason for reason in why.reasons[:_SHOWN_REASONS] if reason.contribution > 0]
    return "; ".join(f"{reason.title} {reason.contribution:+.2f}" for reason in shown)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, stderr: bool = False) -> None:
    """Prints a table as wide as the terminal; what a cell holds is shown, never obeyed."""
    table = Table()
    for name in header:
        numeric = name in ("rank", "score")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(text)) for text in row))
    Console(stderr=stderr).print(table)


def write_chunks(path: Path, chunks: Iterable[pd.DataFrame]) -> int:
    """Writes the chunks of one table to a ``.parquet`` or ``.csv`` file, whole or not at all.

    Returns:
        The number of rows.

    Raises:
        UserError: the file has another suffix, or cannot be written.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"--out {path}: a file name that ends in .parquet or .csv is wanted")
    try:
        with replacing(path) as partial:
            return _write_parquet(partial, chunks) if path.suffix == ".parquet" else _write_csv(partial, chunks)
    except OSError as error:
        raise UserError(f"--out {path} cannot be written: {error}") from error


def _write_parquet(path: Path, chunks: Iterable[pd.DataFrame]) -> int:
    rows, writer = 0, None
    try:
        for chunk in chunks:
            if writer is None:  # an empty first chunk must not decide that a text is no text
                types = {"i": pa.int64(), "f": pa.float32()}
                schema = pa.schema([(name, types.get(kind.kind, pa.string())) for name, kind in chunk.dtypes.items()])
                writer = pq.ParquetWriter(path, schema)
            writer.write_table(pa.Table.from_pandas(chunk, schema=writer.schema, nthreads=1, preserve_index=False))
            rows += len(chunk)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _write_csv(path: Path, chunks: Iterable[pd.DataFrame]) -> int:
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for i, chunk in enumerate(chunks):
            cells(chunk).to_csv(file, index=False, header=i == 0, float_format="%.6f", lineterminator="\n")
            rows += len(chunk)
    return rows
