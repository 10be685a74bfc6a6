"""The command ``new-users``: how good recommendations are for users that the model never saw."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lightning_lp.commands.configs import begun
from lightning_lp.commands.parser import Parser
from lightning_lp.errors import UserError

if TYPE_CHECKING:  # imports take seconds
    from lightning_lp.commands.cli import LinkPredictionCLI
    from lightning_lp.data.datamodule import MovieLensDataModule

Judged = tuple[dict[str, Any], dict[str, dict[str, float]]]
"""What was judged, in numbers, and for each model its metrics."""
STRONG = "strong_generalisation"
_MIN_RATING = 4.0
_SHOWN = ("Recall@20", "NDCG@20")
_SHOWN_STRONGLY = ("Recall@20", "Recall@50", "NDCG@100")


def new_users(args: Sequence[str] | None = None) -> None:
    """Hides users, trains on the others, and compares the lists of the hidden ones with those of baselines.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    options, flags = _parse(args)

    from lightning_lp.checkpointing.results_file import write_results
    from lightning_lp.data.datamodule import MovieLensDataModule
    from lightning_lp.recommend.listing import print_table

    data = MovieLensDataModule(options.root, options.dataset)
    judge, shown = (_judge, _SHOWN) if options.protocol is None else (_judge_strongly, _SHOWN_STRONGLY)
    about, metrics = judge(data, options, flags)
    rows = [(name, *(f"{values[metric.lower()]:.4f}" for metric in shown)) for name, values in metrics.items()]
    print_table(("model", *shown), rows)
    write_results(options.out, {"dataset": data.dataset_name, "seed": options.seed, **about, "models": metrics})
    print(f"{about['hidden']} of {about['users']} users were hidden; all metrics: {options.out}")


def _judge(data: "MovieLensDataModule", options: Namespace, flags: list[str]) -> Judged:
    from lightning_lp.commands.hidden_users import hide_users, judge_new_users, write_without
    from lightning_lp.data.tables import read_tables

    data.setup()
    hidden = hide_users(data.graph, options.share, options.seed)
    with _fitted(partial(write_without, read_tables(data.root), hidden), data, options, flags) as fitted:
        metrics = judge_new_users(hidden, fitted.datamodule, fitted.model)
    return {"users": data.num_users, "hidden": len(hidden.ids)}, metrics


def _judge_strongly(data: "MovieLensDataModule", options: Namespace, flags: list[str]) -> Judged:
    """By the protocol: all links of the users that are not hidden are trained on."""
    from lightning_lp.commands.hidden_users import write
    from lightning_lp.commands.strong_generalisation import divide, judge
    from lightning_lp.data.schema import MOVIE
    from lightning_lp.data.tables import read_tables

    division = divide(
        read_tables(data.root, needs_ratings=options.min_rating is not None),
        options.share,
        options.seed,
        options.min_rating,
    )
    tables = division.tables
    # The movies that are left may all have whole numbers for ids, and would then be in another order.
    is_text = tables.movies[MOVIE].dtype.kind not in "iu"
    taken = ["--data.split.num_val=0", "--data.split.num_test=0", f"--data.text_ids={str(is_text).lower()}"]
    with _fitted(partial(write, tables.movies, tables.ratings), data, options, [*flags, *taken]) as fitted:
        metrics = judge(division, fitted.datamodule, fitted.model, options.part)
        num_movies, num_links = fitted.datamodule.num_movies, fitted.datamodule.split.train_links.size(1)
    return {
        "protocol": options.protocol,
        "part": options.part,
        "min_rating": options.min_rating,
        "users": division.num_users,
        "hidden": sum(len(part.ids) for part in division.hidden.values()),
        "movies": num_movies,
        "train_links": num_links,
    }, metrics


@contextmanager
def _fitted(
    write: Callable[[Path], None], data: "MovieLensDataModule", options: Namespace, flags: list[str]
) -> Iterator["LinkPredictionCLI"]:
    """Fits to what ``write`` puts into a folder that is there for as long; the model then has its best weights."""
    from lightning_lp.commands.cli import main

    with TemporaryDirectory() as folder:
        root = Path(folder) / data.dataset_name
        write(root)
        given = ["--seed_everything", str(options.seed), "--data.root", str(root), "--trainer.default_root_dir", folder]
        yield main(["fit", *begun(flags), *given])


def _parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog="lightning-lp new-users", description="Further flags are those of fit, such as --trainer.max_epochs 5."
    )
    parser.add_argument("--root", metavar="DIR", help="folder with movies.csv and ratings.csv")
    parser.add_argument("--dataset", metavar="NAME", help="public archive to fetch instead")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of users and of training (default: 0)")
    parser.add_argument("--share", type=float, default=0.1, help="share of the users to hide (default: 0.1)")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("lightning_logs/new_users.json"))
    strong = parser.add_argument_group(f"--protocol {STRONG}")
    strong.add_argument(
        "--protocol", choices=[STRONG], help="as published by Liang et al. (WWW 2018); --share is hidden twice"
    )
    strong.add_argument("--part", choices=["validation", "test"], help="users to judge on (default: validation)")
    strong.add_argument(
        "--min-rating", metavar="R", help=f"least rating that is a link, or null (default: {_MIN_RATING})"
    )
    options, flags = parser.parse_known_args(args)
    if options.protocol is None:
        for name in ("part", "min_rating"):
            if getattr(options, name) is not None:
                raise UserError(
                    f"--{name.replace('_', '-')} is for --protocol {STRONG}: leave it out, or give that, too"
                )
        return options, flags
    options.part = options.part or "validation"
    options.min_rating = _MIN_RATING if options.min_rating is None else _least_rating(options.min_rating)
    for flag in flags:
        if flag.startswith(("--data.split", "--data.min_rating")):
            raise UserError(f"{flag.partition('=')[0]}: leave it out, --protocol {STRONG} says what is trained on")
    return options, flags


def _least_rating(text: str) -> float | None:
    try:
        return None if text == "null" else float(text)
    except ValueError:
        raise UserError(f"--min-rating {text}: a number, or null to take all ratings, wanted") from None
