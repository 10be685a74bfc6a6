"""Lists of movies for people and programs: a table, JSON, CSV, or one file for all users."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_lp.atomic import replacing
from lightning_lp.errors import UserError
from lightning_lp.escape import cell, cells, visible
from lightning_lp.recommend.topk import Recommendation

Format = Literal["table", "json", "csv"]

_HEADER = ("rank", "movieId", "title", "genres", "score")


def print_list(movies: Sequence[Recommendation], form: Format) -> None:
    """Prints a list of movies to standard output."""
    if form == "json":
        rows = [(*movie[:3], list(movie.genres), movie.score) for movie in movies]
        print(json.dumps([dict(zip(_HEADER, row, strict=True)) for row in rows], indent=2))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_HEADER)
        for rank, movie_id, title, genres, score in movies:
            writer.writerow([*map(cell, (rank, movie_id, title, "|".join(genres))), f"{score:.6f}"])
    else:
        shown = ((str(m.rank), str(m.movie_id), m.title, ", ".join(m.genres), f"{m.score:.4f}") for m in movies)
        print_table(_HEADER, shown)


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
