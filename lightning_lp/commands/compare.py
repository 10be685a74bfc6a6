"""The command ``compare``: the baselines and a run's model, on the very same split."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console
from rich.progress import Progress
from torch.utils.tensorboard import SummaryWriter

from lightning_lp.callbacks.results import describe
from lightning_lp.checkpointing.event_log import COMPARISON_SUFFIX
from lightning_lp.checkpointing.finding import run_folder_of
from lightning_lp.checkpointing.results_file import RESULTS_FILE
from lightning_lp.checkpointing.runs import load_run
from lightning_lp.commands.comparison_tables import rich_table, write_comparison
from lightning_lp.commands.settings_parser import SettingsParser
from lightning_lp.commands.spelling import spelled_flags
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.errors import UserError
from lightning_lp.evaluation.baselines import candidates
from lightning_lp.evaluation.comparison import Comparison, Part
from lightning_lp.evaluation.figures import recall_figure

DEFAULT_OUT = "lightning_logs/comparison"


def compare(args: Sequence[str] | None = None) -> None:
    """Fits all baselines, judges them and the run's model, prints a table and writes it as JSON and Markdown.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    options = _parse(args)
    data, module = load_run(options.run, options.data) if options.run else (MovieLensDataModule(**options.data), None)
    data.setup()
    run_folder = run_folder_of(Path(options.run)) if options.run else Path(DEFAULT_OUT)
    out = Path(options.out or run_folder)
    if out.is_file():
        raise UserError(f"--out {out} is a file: give a folder")

    comparison = Comparison(data, options.part, options.seed, options.max_memory and options.max_memory * 2**30)
    if module is not None:
        comparison.add_model(module, _fit_seconds(run_folder))
    _add_baselines(comparison, search=not options.quick)
    if module is not None:
        comparison.add_tests()

    how = "default settings" if options.quick else "settings searched on validation"
    title = f"{data.dataset_name}: {options.part}, split {data.split.fingerprint}, {how}"
    Console(width=100).print(rich_table(title, comparison.entries))
    head = {**describe(data), "run": options.run, "part": options.part, "quick": options.quick, "seed": options.seed}
    write_comparison(out, title, head, comparison.entries)
    if module is not None:
        _add_figure(run_folder, comparison)
    print(f"written to {out / 'comparison.json'} and {out / 'comparison.md'}")


def _parse(args: Sequence[str] | None) -> Namespace:
    parser = SettingsParser(
        prog="lightning-lp compare", description="Compares the baselines, and a run's model, on one split."
    )
    parser.add_argument("--run", type=str | None, help="run folder or checkpoint; its data and split are used")
    parser.add_argument("--part", type=Part, default="validation", help="part of the split whose links are ranked")
    parser.add_argument("--quick", action="store_true", help="default settings for the baselines, no search")
    parser.add_argument("--seed", type=int, default=0, help="seed of baselines, intervals and tests")
    parser.add_argument("--out", type=str | None, help=f"folder to write; default: the run's, or {DEFAULT_OUT}")
    parser.add_argument(
        "--max_memory", type=float | None, help="GiB for fitting a baseline; default: four fifths of what is free"
    )
    parser.add_class_arguments(MovieLensDataModule, "data")
    given = parser.parse_args(
        spelled_flags(sys.argv[1:] if args is None else args), defaults=False
    )  # only what is given may replace a run's settings
    options = parser.get_defaults()
    options.update(given)
    options.data = {name: value for name, value in given.as_dict().get("data", {}).items() if name != "__path__"}
    return options


def _add_baselines(comparison: Comparison, *, search: bool) -> None:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name, candidate in candidates(comparison.is_by_time).items():
            task = progress.add_task(f"fitting {name}", total=len(candidate.grid) if search else 1)
            comparison.add_baseline(name, candidate, search=search, advance=partial(progress.advance, task))


def _add_figure(run: Path, comparison: Comparison) -> None:
    """Adds the recall curves of all models to the run's TensorBoard events."""
    curves = {entry.name: entry.recall_curve for entry in comparison.entries if entry.recall_curve}
    with SummaryWriter(run, filename_suffix=COMPARISON_SUFFIX) as writer:
        writer.add_figure("val/recall_at_k", recall_figure(curves))


def _fit_seconds(run: Path) -> float | None:
    """Seconds of the run's fit, where its results are at hand."""
    path = run / RESULTS_FILE
    results = json.loads(path.read_text()) if path.is_file() else {}
    seconds: float | None = results.get("timing", {}).get("fit_s")
    return seconds
