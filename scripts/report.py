"""Writes one self-contained page about a run: ``python scripts/report.py [--run DIR] [--data.root DIR]``."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.__main__ import run
from lightning_lp.commands.parser import Parser


def report(args: Sequence[str] | None = None) -> None:
    """Writes ``report.html`` into the run folder."""
    parser = Parser(prog="scripts/report.py", description="Writes report.html into a run folder.")
    parser.add_argument("--run", metavar="DIR", type=Path, help="run folder; default: the newest")
    parser.add_argument("--data.root", metavar="DIR", dest="root", help="its data, where that has been moved")
    options = parser.parse_args(args)

    from lightning_lp.checkpointing.finding import newest_run
    from lightning_lp.commands.report import write_report

    changes = {"root": options.root, "dataset": None} if options.root else {}
    print(f"written to {write_report(options.run or newest_run(), changes)}")


if __name__ == "__main__":
    run(report)
