"""The command ``reproduce``: published figures, and those of this project on the same files."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from lightning_lp.commands.configs import begun
from lightning_lp.commands.parser import Parser
from lightning_lp.data.schema import MOVIES_FILE, PART_FILES
from lightning_lp.errors import UserError
from lightning_lp.evaluation.published import BENCHMARKS, Benchmark

if TYPE_CHECKING:  # imports take seconds
    from lightning_lp.data.datamodule import MovieLensDataModule
    from lightning_lp.evaluation.comparison import Comparison, Entry

SHOWN = ("recall@20", "ndcg@20")
_FROM_FOLDER = ("--data.root", "--data.dataset", "--data.split.strategy")
_NOTE = (
    "published: copied from the paper named. measured now: fitted to train.csv and ranked by this program, with the "
    "movies of train.csv left out of a user's list; means over the users of test.csv."
)


def reproduce(args: Sequence[str] | None = None) -> None:
    """Measures popularity, EASE and a fit of the model on published files, and shows published figures beside them.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    options, flags = _parse(args)
    benchmark = BENCHMARKS[options.name]
    fit = [*begun(flags), f"--data.root={options.root}", "--data.split.strategy=given"]

    _check_files(options.root)

    from lightning_lp.callbacks.checkpoints import run_folder
    from lightning_lp.checkpointing.results_file import write_results
    from lightning_lp.commands.cli import main, settings_of
    from lightning_lp.data.datamodule import MovieLensDataModule
    from lightning_lp.evaluation.comparison import Comparison

    data = MovieLensDataModule(**settings_of(fit)["data"])
    data.setup()
    check_counts(data, benchmark, options.root)
    comparison = Comparison(data, "test")
    _add_baselines(comparison, benchmark)
    chosen = {}
    if _chooses(fit):
        Console(stderr=True).print(
            "first a fit that holds out a tenth of train.csv, and chooses by it, then one of all"
        )
        chosen = _chosen(options.root, begun(flags))
    fitted = main(["fit", *fit, *(f"--model.encoder.{name}={value}" for name, value in chosen.items())], then_test=True)
    comparison.add_model(fitted.model.eval(), fitted.results.results["timing"]["fit_s"])

    Console(width=100).print(table(benchmark, comparison.entries))
    run = run_folder(fitted.trainer)
    measured = {
        entry.name: {"skipped": entry.skipped, "parameters": entry.parameters, "metrics": entry.metrics}
        for entry in comparison.entries
    }
    about = {
        "benchmark": options.name,
        "counts": dict(benchmark.counts),
        "split": data.split.fingerprint,
        "run": None if run is None else str(run),
        "chosen": chosen,
        "published": {row.model: vars(row) for row in benchmark.rows},
        "measured": measured,
    }
    write_results(options.out, about)
    print(f"written to {options.out}")


def _chooses(fit: Sequence[str]) -> bool:
    """Whether the encoder of these settings chooses anything on validation."""
    from lightning_lp.commands.cli import settings_of
    from lightning_lp.model.encoders.base import Encoder
    from lightning_lp.model.encoders.registry import make_encoder

    encoder = make_encoder(settings_of(fit)["model"]["encoder"])
    return type(encoder).choose_on_validation is not Encoder.choose_on_validation


def _chosen(root: Path, fit: Sequence[str]) -> dict[str, Any]:
    """Options of the encoder that a fit chooses by a tenth of the training pairs, which it does not learn from."""
    from lightning_lp.commands.cli import main
    from lightning_lp.data.files.layouts import find_file

    train = find_file(root, *PART_FILES["train"])
    tables = [f"--data.root={root}", f"--data.ratings_file={train}"]
    if find_file(root, MOVIES_FILE) is None:
        tables += ["--data.movies_file=null"]
    parts = ["--data.split.strategy=random", "--data.split.num_val=0.1", "--data.split.num_test=0"]
    chosen: dict[str, Any] = main(["fit", *fit, *tables, *parts]).model.encoder.chosen
    return chosen


def _check_files(root: Path) -> None:
    from lightning_lp.data.files.layouts import find_file

    for part in ("train", "test"):
        if find_file(root, *PART_FILES[part]) is None:
            raise UserError(
                f"{root} holds no {part}.csv: DIR is the folder with the published pairs, as train.csv and test.csv "
                "with the columns userId and movieId"
            )


def check_counts(data: "MovieLensDataModule", benchmark: Benchmark, root: Path) -> None:
    """Refuses files whose numbers of users, movies and links are not the published ones.

    Args:
        data: the data module, set up.
        benchmark: what the files are to be.
        root: their folder.

    Raises:
        UserError: with each number that differs.
    """
    from lightning_lp.callbacks.results import describe

    about = describe(data)
    found, wanted = about["dataset"] | about["split"], {**benchmark.counts, "val_links": 0}
    differing = [f"{found[name]:,} {name}, not {count:,}" for name, count in wanted.items() if found[name] != count]
    if differing:
        raise UserError(
            f"{root} does not hold {benchmark.title} as published: {'; '.join(differing)}: give a folder with its "
            "training pairs in train.csv, its test pairs in test.csv and no others"
        )


def table(benchmark: Benchmark, entries: Sequence["Entry"]) -> Table:
    """A row for each model, at most 100 columns wide: what is published of it, and what was measured now."""
    counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in benchmark.counts.items()]
    notes = [f"{entry.name} was skipped: {entry.skipped}" for entry in entries if entry.skipped]
    shown = Table(
        title=f"{benchmark.title}: {', '.join(counts)}, as published",
        caption="\n".join([*notes, _NOTE]),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        caption_style="",
    )
    shown.add_column("model", no_wrap=True)
    for of in ("published", "measured now"):
        for name in ("Recall@20", "NDCG@20"):
            shown.add_column(f"{of}\n{name}", justify="right", no_wrap=True)
    shown.add_column("published in", no_wrap=True)
    measured = {entry.name: entry for entry in entries}
    published = {row.model: row for row in benchmark.rows}
    for model in {**published, **measured}:
        row, entry = published.get(model), measured.get(model)
        cells = [f"{row.recall:.4f}", f"{row.ndcg:.4f}"] if row else ["", ""]
        cells += [f"{entry.metrics[name]:.4f}" if entry.metrics else "skipped" for name in SHOWN] if entry else ["", ""]
        shown.add_row(model, *cells, row.source if row else "", style="bold" if model == entries[-1].name else None)
    return shown


def _add_baselines(comparison: "Comparison", benchmark: Benchmark) -> None:
    from lightning_lp.evaluation.baselines import Candidate
    from lightning_lp.evaluation.counting import Popularity
    from lightning_lp.evaluation.linear import EASE

    for name, baseline in (("popularity", Popularity()), ("EASE", EASE(l2=benchmark.ease_l2))):
        with Console(stderr=True).status(f"fitting {name}"):
            comparison.add_baseline(name, Candidate(baseline))


def _parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog="lightning-lp reproduce", description="Further flags are those of fit, such as --trainer.max_epochs 5."
    )
    names = ", ".join(BENCHMARKS)
    parser.add_argument("name", metavar="NAME", choices=list(BENCHMARKS), help=f"of the published files: {names}")
    parser.add_argument("root", metavar="DIR", type=Path, help="folder with them, as train.csv and test.csv")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="file to write (default: lightning_logs/reproduce_NAME.json)"
    )
    options, flags = parser.parse_known_args(args)
    for flag in flags:
        if flag.partition("=")[0] in _FROM_FOLDER:
            raise UserError(f"{flag.partition('=')[0]}: leave it out, reproduce reads the files of DIR as they are")
    options.out = options.out or Path("lightning_logs") / f"reproduce_{options.name}.json"
    return options, flags
