"""The command ``benchmark``: groups of figures as a table and as JSON."""

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from lightning_lp.commands.configs import packaged, resolved
from lightning_lp.commands.parser import Parser
from lightning_lp.errors import require

if TYPE_CHECKING:
    from lightning_lp.commands.benchmark.workload import Figure, Workload

GROUPS = ("machine", "stages", "sampler", "step", "ranking", "fast", "serve", "growth")
"""The groups of figures: each is a module here with a function of its name."""


def benchmark(args: Sequence[str] | None = None) -> None:
    """Measures the groups asked for with the settings ``fast``, prints a table and writes all figures.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    options, flags = _parse(args)

    import torch  # imports take seconds, a wrong option is told at once

    from lightning_lp.checkpointing.results_file import write_results
    from lightning_lp.commands.benchmark.machine import describe

    workload = _workload(options, ["--config", str(packaged("fast")), *resolved(flags)])
    torch.set_num_threads(workload.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    figures: list[Figure] = []
    for group in options.groups:
        measure = getattr(import_module(f"lightning_lp.commands.benchmark.{group}"), group)
        found: list[Figure] = []
        with Console(stderr=True).status(f"{group} ...") as status:
            for figure in measure(workload):
                found.append(figure)
                status.update(f"{group}: {figure.what}, {figure.setting}: {_shown(figure)} ...")
        figures += found
        about = {"machine": describe(workload.threads), "data": workload.root.name, "flags": list(workload.flags)}
        write_results(options.out, about | {"figures": [figure._asdict() for figure in figures]})
        Console(width=100).print(table(found))
    print(f"written to {options.out}")


def table(figures: Sequence["Figure"]) -> Table:
    """Figures of one group, one a line."""
    shown = Table(title=figures[0].group, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    shown.add_column("what")
    shown.add_column("setting")
    shown.add_column("value", justify="right", no_wrap=True)
    for figure in figures:
        shown.add_row(figure.what, figure.setting, _shown(figure))
    return shown


def _shown(figure: "Figure") -> str:
    return f"{rounded(figure.value)} {figure.unit}"


def rounded(value: float) -> str:
    """Three digits that count; all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog="lightning-lp benchmark",
        description="Measures speed and memory. Further flags are those of fit, such as --data.root DIR.",
    )
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS, help="default: all")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="the notebook's training as a script, beside it")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="runs, the median counts (default: 3)")
    parser.add_argument("--threads", type=int, default=_cores(), metavar="N", help="of torch; default: all cores")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="links of the data of growth; default: all")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="of a fit of growth (default: 100)")
    parser.add_argument("--cache", type=Path, metavar="DIR", default=Path("benchmark_data"), help="of synthetic data")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("lightning_logs/benchmark.json"))
    options, flags = parser.parse_known_args(args)
    for name in ("repeat", "threads", "steps"):
        require(getattr(options, name) > 0, f"--{name}", getattr(options, name), "1 or more")
    if options.baseline is not None:
        require(options.baseline.is_file(), "--baseline", options.baseline, "the path of a script")
    return options, flags


def _workload(options: Namespace, flags: list[str]) -> "Workload":
    """Settings and sizes, checked."""
    from lightning_lp.commands.benchmark.growth import SIZES
    from lightning_lp.commands.benchmark.workload import Workload
    from lightning_lp.commands.cli import settings_of
    from lightning_lp.data.sources.locate import locate

    sizes = options.sizes or list(SIZES)
    for size in sizes:
        require(size in SIZES, "--sizes", size, f"one of {', '.join(map(str, SIZES))}")
    settings = settings_of(flags)
    data = settings["data"]
    root = locate(data["root"], data["dataset"], data["cache_dir"])
    require(root.is_dir(), "--data.root", root, "a folder with movies.csv and ratings.csv")
    data |= {"root": str(root), "dataset": None}
    shared = {name: getattr(options, name) for name in ("baseline", "repeat", "threads", "cache", "steps")}
    return Workload(settings=settings, flags=flags, sizes=sizes, **shared)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
