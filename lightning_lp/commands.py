"""The commands that need no training: ``recommend`` and ``export``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd
from rich.console import Console
from rich.progress import track

from lightning_lp.errors import UserError


class Parser(argparse.ArgumentParser):
    """Answers a wrong option with one sentence, as every other mistake is answered."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise UserError(f"{message}; all options: {self.prog} --help")


def recommend(args: Sequence[str] | None = None) -> None:
    """Recommends movies to a known user, a new one or all, or shows the movies most like one.

    Raises:
        UserError: something that the user can put right.
        SystemExit: status 2 after the candidates, if a title search finds several.
    """
    options = _recommend_parser().parse_args(args)
    if options.k < 1:
        raise UserError(f"--k {options.k}: 1 or more wanted")
    if options.all_users != (options.out is not None):
        raise UserError("--all-users and --out FILE.parquet|csv go together: give both, or neither")
    if options.min_rating is not None and options.liked is None:
        raise UserError("--min-rating goes with --liked FILE.csv: give both, or neither")

    from lightning_lp.listing import print_list  # after the options, which are wrong more often and parsed faster
    from lightning_lp.recommend import Recommender, newest_run

    recommender = Recommender.load(options.run or newest_run())
    if options.all_users:
        _recommend_all(recommender, options.k, options.out)
        return
    if options.user is not None:
        movies = recommender.recommend(options.user, options.k)
    elif options.liked is not None:
        liked, seen = _history(options.liked, options.min_rating)
        movies = recommender.recommend_new(liked, options.k, seen)
    else:
        movie = options.similar_to if options.like is None else _one_movie(recommender, options.like)
        movies = recommender.similar(movie, options.k)
    print_list(movies, options.format)


def export(args: Sequence[str] | None = None) -> None:
    """Writes a folder that recommends without torch.

    Raises:
        UserError: something that the user can put right.
    """
    parser = Parser(prog="export", description="Writes embeddings and a NumPy-only recommender into a new folder.")
    parser.add_argument("--run", metavar="DIR|FILE", type=Path, help="run folder or checkpoint; default: the newest")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to make")
    options = parser.parse_args(args)

    from lightning_lp.export import write_export
    from lightning_lp.recommend import Recommender, newest_run

    write_export(Recommender.load(options.run or newest_run()), options.out)
    print(f"exported to {options.out}: see {options.out / 'README.md'}")
