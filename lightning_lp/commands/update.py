"""The command ``update``: new ratings, users and movies join a run that is trained, and it goes on from there."""

from collections.abc import Sequence
from pathlib import Path

from lightning_lp.commands.imports import importing
from lightning_lp.commands.parser import Parser
from lightning_lp.errors import UserError
from lightning_lp.escape import visible

EPOCHS = 2
"""Of an update: the weights have been trained."""


def update(args: Sequence[str] | None = None) -> None:
    """Trains a run on with all of its data and what is new, as a new run.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    parser = Parser(
        prog="lightning-lp update",
        allow_abbrev=False,
        description="Trains a run on, as a new run, when ratings, users or movies have been added to its data.",
        epilog=f"All options of fit change the run's settings (--trainer.max_epochs, here {EPOCHS}): "
        "lightning-lp fit --help.",
    )
    parser.add_argument("--run", metavar="DIR|FILE", type=Path, help="run folder or checkpoint; default: the newest")
    parser.add_argument(
        "--data.root", metavar="DIR", dest="root", help="all ratings and movies, old and new; default: the run's folder"
    )
    options, others = parser.parse_known_args(args)
    if stopped := [flag for flag in others if flag.startswith(("--resume", "--ckpt_path"))]:
        raise UserError(f"{stopped[0]}: an update that was stopped goes on with lightning-lp fit --resume RUN")

    with importing():  # after the options: a wrong one is told at once
        from lightning_lp.checkpointing.finding import find_checkpoint, newest_run, run_folder_of
        from lightning_lp.checkpointing.resume import CONFIG_FILE
        from lightning_lp.commands.updating import NothingNewError, updating

    run = options.run or newest_run()
    checkpoint = find_checkpoint(run).absolute()
    folder = run_folder_of(checkpoint if run.is_file() else run).absolute()
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"{folder} holds no {CONFIG_FILE}, with which it was trained: in Python, give "
            f"MovieLensDataModule(previous={str(checkpoint)!r}) to a fit"
        )
    root = [] if options.root is None else [f"--data.root={options.root}", "--data.dataset=null"]
    own = [f"--config={folder / CONFIG_FILE}", f"--data.previous={checkpoint}", f"--trainer.max_epochs={EPOCHS}"]
    try:
        updating([*own, *root, *others], folder)
    except NothingNewError:
        print(visible(f"nothing is new since {folder}: it stays as it is"))
