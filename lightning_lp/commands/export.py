"""The command ``export``: a folder that recommends without torch."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.commands.parser import Parser


def export(args: Sequence[str] | None = None) -> None:
    """Writes a folder that recommends without torch.

    Raises:
        UserError: something that the user can put right.
    """
    parser = Parser(
        prog="lightning-lp export", description="Writes embeddings and a NumPy-only recommender into a new folder."
    )
    parser.add_argument("--run", metavar="DIR|FILE", type=Path, help="run folder or checkpoint; default: the newest")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to make")
    options = parser.parse_args(args)

    from lightning_lp.checkpointing.finding import newest_run
    from lightning_lp.recommend.export import write_export
    from lightning_lp.recommend.recommender import Recommender

    write_export(Recommender.load(options.run or newest_run()), options.out)
    print(f"exported to {options.out}: see {options.out / 'README.md'}")
