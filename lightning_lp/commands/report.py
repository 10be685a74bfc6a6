"""The command ``report``: one self-contained page about a run."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.commands.parser import Parser


def report(args: Sequence[str] | None = None) -> None:
    """Writes ``report.html`` into the run folder.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: ``--help``.
    """
    parser = Parser(prog="lightning-lp report", description="Writes report.html into a run folder.")
    parser.add_argument("--run", metavar="DIR", type=Path, help="run folder; default: the newest")
    parser.add_argument("--data.root", metavar="DIR", dest="root", help="its data, where that has been moved")
    options = parser.parse_args(args)

    from lightning_lp.checkpointing.finding import newest_run  # imports take seconds, a wrong option is told at once
    from lightning_lp.commands.page import write_page

    changes = {"root": options.root, "dataset": None} if options.root else {}
    print(f"written to {write_page(options.run or newest_run(), changes)}")
