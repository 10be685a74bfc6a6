"""The command ``export``: a folder that recommends without torch, with NumPy alone or by ONNX."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.commands.parser import Parser
from lightning_lp.errors import UserError


def export(args: Sequence[str] | None = None) -> None:
    """Writes a folder that recommends without torch.

    Raises:
        UserError: something that the user can put right.
    """
    parser = Parser(
        prog="lightning-lp export",
        description="Writes a recommender that needs no torch into a new folder: vectors of all users, for NumPy, "
        "or (onnx) a model that reads the history of any user.",
    )
    parser.add_argument("--run", metavar="DIR|FILE", type=Path, help="run folder or checkpoint; default: the newest")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to make")
    parser.add_argument("--format", choices=["numpy", "onnx"], default="numpy", help="default: numpy")
    parser.add_argument("--k", type=int, help="with --format onnx: length of the lists (default: 100)")
    options = parser.parse_args(args)
    if options.k is not None and options.format != "onnx":
        raise UserError("--k goes with --format onnx: lists of the other are as long as they are asked for")
    if options.k is not None and options.k < 1:
        raise UserError(f"--k {options.k}: 1 or more wanted")

    from lightning_lp.checkpointing.finding import newest_run
    from lightning_lp.recommend.export import write_export
    from lightning_lp.recommend.recommender import Recommender

    recommender = Recommender.load(options.run or newest_run())
    if options.format == "onnx":
        from lightning_lp.recommend.onnx_export import write_onnx

        write_onnx(recommender, options.out, options.k or 100)
    else:
        write_export(recommender, options.out)
    print(f"exported to {options.out}: see {options.out / 'README.md'}")
