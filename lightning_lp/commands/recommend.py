"""The command ``recommend``: lists for users that are known, new, or all."""

import csv
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from lightning_lp.commands.imports import importing
from lightning_lp.commands.parser import Parser
from lightning_lp.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightning_lp.data.files.raw_table import RawTable
    from lightning_lp.recommend.profiles import Profile
    from lightning_lp.recommend.recommender import Recommender

_MAX_CANDIDATES = 20
_TABLES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
"""How the names of files with a new user's movies end."""


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
    if options.min_rating is not None and math.isnan(options.min_rating):
        raise UserError("--min-rating nan: a number wanted")
    if options.min_rating is not None and options.liked is None:
        raise UserError("--min-rating goes with --liked FILE.csv: give both, or neither")
    if options.why and options.user is None and options.liked is None:
        raise UserError("--why goes with --user or --liked: it tells of a user's movies")

    with importing():  # after the options: a wrong one is told at once
        from lightning_lp.checkpointing.finding import newest_run
        from lightning_lp.recommend.listing import print_list
        from lightning_lp.recommend.recommender import Recommender

    recommender = Recommender.load(options.run or newest_run())
    if options.all_users:
        _recommend_all(recommender, options.k, options.out)
        return
    if options.user is not None:
        profile = recommender.profile(options.user)
    elif options.liked is not None:
        profile = _new_profile(options.liked, options.min_rating, recommender)
    else:
        movie = options.similar_to if options.like is None else _one_movie(recommender, options.like)
        print_list(recommender.similar(movie, options.k), options.format)
        return
    movies = recommender.list_for(profile, options.k)
    whys = recommender.why(profile, [movie.movie_id for movie in movies]) if options.why else []
    print_list(movies, options.format, whys)


def _recommend_parser() -> Parser:
    parser = Parser(
        prog="lightning-lp recommend", description="Recommends movies from a trained run; no data files are needed."
    )
    parser.add_argument("--run", metavar="DIR|FILE", type=Path, help="run folder or checkpoint; default: the newest")
    parser.add_argument("--k", type=int, default=10, help="length of the list (default: 10)")
    parser.add_argument("--format", choices=["table", "json", "csv"], default="table", help="default: table")
    parser.add_argument("--out", metavar="FILE", type=Path, help="with --all-users: a .parquet or .csv file")
    parser.add_argument("--min-rating", type=float, help="with --liked FILE.csv: lower ratings are seen, not liked")
    parser.add_argument("--why", action="store_true", help="with --user or --liked: which of their movies speak for it")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--user", metavar="ID", help="recommend to this user")
    mode.add_argument("--all-users", action="store_true", help="recommend to every user, into --out")
    mode.add_argument("--similar-to", metavar="MOVIE_ID", help="the movies most like this one")
    mode.add_argument("--like", metavar="TITLE", help="the same, for the movie whose title this finds")
    mode.add_argument(
        "--liked", metavar="ID,ID,...|FILE.csv", help="recommend to a new user who likes these, or rated those"
    )
    return parser


def _recommend_all(recommender: "Recommender", k: int, out: Path) -> None:
    from lightning_lp.recommend.listing import write_chunks

    chunk = 256
    total = -(-len(recommender.users) // chunk)
    tables = track(recommender.recommend_all(k, chunk), "recommending", total=total, console=Console(stderr=True))
    rows = write_chunks(out, tables)
    print(f"{rows:,} recommendations for {len(recommender.users):,} users written to {out}")


def _one_movie(recommender: "Recommender", title: str) -> int | str:
    """The id of the one movie that a title search finds; several are shown, never guessed."""
    from lightning_lp.recommend.listing import print_table

    found = recommender.find(title)
    if not found:
        raise UserError(f"--like {title!r}: no title holds these words, look for fewer")
    if len(found) > 1:
        shown = found[:_MAX_CANDIDATES]
        print_table(("movieId", "title", "genres"), recommender.describe(shown), stderr=True)
        more = f", the first {len(shown)} of them above" if len(found) > len(shown) else ""
        raise UserError(f"--like {title!r} finds {len(found)} movies{more}: name one with --similar-to MOVIE_ID")
    return found[0]


def _new_profile(liked: str, min_rating: float | None, recommender: "Recommender") -> "Profile":
    """What lists for a new user are made from."""
    movies, seen, known = _history(liked, min_rating, recommender)
    try:
        return recommender.new_profile(recommender.history_of(movies, seen, **known))
    except UserError as error:
        if _is_table(liked) or "," not in liked:
            raise
        raise UserError(f"{error}; an id that holds a comma stands in double quotes, as in CSV") from None


def _history(
    liked: str, min_rating: float | None, recommender: "Recommender"
) -> tuple[list[str], list[str], dict[str, Any]]:
    """What a new user has told.

    Args:
        liked: ids, the latest last, or a table with the run's or MovieLens' names of columns.
        min_rating: ratings from here on are liked; with a table.
        recommender: says what is read of ratings.

    Returns:
        The ids of the movies that it likes and of all that are rated, and of the liked ones ``times`` and ``ratings``,
        if the model reads them and the table has them.
    """
    if not _is_table(liked):
        if min_rating is not None:
            raise UserError("--min-rating needs ratings: give a CSV file with --liked")
        ids = _split(liked)
        return ids, ids, {}

    import numpy as np

    file = _liked_file(Path(liked), recommender, needs_rating=min_rating is not None)
    seen, read = file.texts("movie").tolist(), recommender.edge_attrs
    known: dict[str, Any] = {}
    is_liked = np.ones(len(seen), bool)
    if min_rating is not None or "rating" in read:
        rating = _ratings(file, is_needed=min_rating is not None)
        is_liked = is_liked if min_rating is None or rating is None else rating >= min_rating
        known |= {} if rating is None or "rating" not in read else {"ratings": rating[is_liked]}
    if "time" in read and (time := _times(file)) is not None:
        known["times"] = time[is_liked]
    return [movie for movie, is_one in zip(seen, is_liked, strict=True) if is_one], seen, known


def _liked_file(path: Path, recommender: "Recommender", *, needs_rating: bool) -> "RawTable":
    """The columns of a new user's table that are read."""
    from lightning_lp.data.files.formats import read_columns
    from lightning_lp.data.files.layouts import STANDARD

    required = {"movie", *(["rating"] if needs_rating else [])}
    standard = {name: str(getattr(STANDARD, name)) for name in sorted(required | set(recommender.edge_attrs))}
    names = {name: getattr(recommender.columns, name) or standard[name] for name in standard}
    return read_columns(path, names, required=frozenset(required), fallback=standard, typed=False, options={})


def _ratings(file: "RawTable", *, is_needed: bool) -> "NDArray[np.float64] | None":
    """The ratings of a table, a blank one as the mean of the others; none where it has none, or words."""
    import numpy as np

    from lightning_lp.data.files.values import rating_words, read_ratings
    from lightning_lp.recommend.histories import filled

    if not is_needed and ("rating" not in file or rating_words(file)):
        return None
    rating = read_ratings(file)
    is_blank = np.isnan(rating)
    if is_blank.any() and is_needed:
        place = file.place(int(is_blank.argmax()), "rating")
        raise UserError(f"{place}: no rating, and --min-rating needs one: fill it in, or remove the row")
    return filled(rating)


def _times(file: "RawTable") -> "NDArray[np.int64] | None":
    """The times of a table, if it has any."""
    import numpy as np

    from lightning_lp.data.files.values import read_times

    if "time" not in file:
        return None
    times, problem = read_times(file, np.arange(file.rows))
    if problem is not None:
        raise UserError(problem)
    return times


def _is_table(liked: str) -> bool:
    with suppress(OSError):  # more ids than the name of a file can hold
        if Path(liked).is_file():
            return True
    return liked.lower().endswith(_TABLES)


def _split(liked: str) -> list[str]:
    """Ids between commas, in double quotes those that hold a comma."""
    try:
        (texts,) = csv.reader([liked], skipinitialspace=True, strict=True)
    except (ValueError, csv.Error):
        raise UserError(
            f"--liked {liked!r}: ids between commas wanted, in double quotes, as in CSV, what holds a comma or begins "
            "with a double quote"
        ) from None
    return [text.strip() for text in texts if text.strip()]
