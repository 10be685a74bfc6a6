"""The command ``new-users``: how good recommendations are for users that the model never saw."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_lp.commands.configs import begun
from lightning_lp.commands.parser import Parser


def new_users(args: Sequence[str] | None = None) -> None:
    """Hides users, trains on the others, and compares the lists of the hidden ones with those of baselines.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    options, flags = _parser().parse_known_args(args)

    from lightning_lp.checkpointing.results_file import write_results  # imports take seconds
    from lightning_lp.commands.cli import main
    from lightning_lp.commands.hidden_users import hide_users, judge_new_users, write_without
    from lightning_lp.data.datamodule import MovieLensDataModule
    from lightning_lp.data.tables import read_tables
    from lightning_lp.recommend.listing import print_table

    data = MovieLensDataModule(options.root, options.dataset)
    data.setup()
    hidden = hide_users(data.graph, options.share, options.seed)
    with TemporaryDirectory() as folder:
        root = Path(folder) / data.dataset_name
        write_without(read_tables(data.root), hidden, root)
        given = ["--seed_everything", str(options.seed), "--data.root", str(root), "--trainer.default_root_dir", folder]
        fitted = main(["fit", *begun(flags), *given])  # leaves the best weights in it
        metrics = judge_new_users(hidden, fitted.datamodule, fitted.model)
    rows = [(name, f"{values['recall@20']:.4f}", f"{values['ndcg@20']:.4f}") for name, values in metrics.items()]
    print_table(("model", "Recall@20", "NDCG@20"), rows)
    about = {"dataset": data.dataset_name, "seed": options.seed, "users": data.num_users, "hidden": len(hidden.ids)}
    write_results(options.out, about | {"models": metrics})
    print(f"{len(hidden.ids)} of {data.num_users} users were hidden; all metrics: {options.out}")


def _parser() -> Parser:
    parser = Parser(
        prog="lightning-lp new-users", description="Further flags are those of fit, such as --trainer.max_epochs 5."
    )
    parser.add_argument("--root", metavar="DIR", help="folder with movies.csv and ratings.csv")
    parser.add_argument("--dataset", metavar="NAME", help="public archive to fetch instead")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of users and of training (default: 0)")
    parser.add_argument("--share", type=float, default=0.1, help="share of the users to hide (default: 0.1)")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("lightning_logs/new_users.json"))
    return parser
