"""The command ``ablate``: variants of the model and tuned baselines, over several splits and seeds."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import Namespace
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lightning_lp.atomic import replacing
from lightning_lp.commands.cli import main
from lightning_lp.commands.configs import resolved
from lightning_lp.commands.settings_parser import SettingsParser
from lightning_lp.errors import UserError
from lightning_lp.evaluation.baselines import BASELINES, BY_TIME, Candidate
from lightning_lp.evaluation.comparison import Comparison, Part
from lightning_lp.evaluation.linear import LinearPart
from lightning_lp.evaluation.ranking import Ranking
from lightning_lp.evaluation.significance import paired_tests
from lightning_lp.model.module import LinkPredictionModule

TUTORIAL = {
    "model.encoder": "sage",
    "model.losses": {"bce": 1.0},
    "model.encoder.hidden_channels": 64,
    "model.lr": 0.001,
    "model.lr_schedule": "constant",
    "model.weight_decay": 0.0,
    "data.batch_size": 128,
    "trainer.max_epochs": 5,
}
SAGE = TUTORIAL | {
    "model.lr": 0.003,
    "model.weight_decay": 3e-5,
    "data.batch_size": 1024,
    "trainer.max_epochs": 20,
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "without the linear part": {"model.encoder.spectral_weight": 0.0},
    "without titles and years": {"data.title_terms": False},
    "without binary cross entropy": {"model.losses": {"softmax": 1.0}},
    "binary cross entropy alone": {"model.losses": {"bce": 1.0}},
    "BPR for softmax": {"model.losses": {"bpr": 1.0, "bce": 1.0}},
    "half as wide": {"model.encoder.hidden_channels": 48},
    "twice as wide": {"model.encoder.hidden_channels": 192},
    "all links weigh the same": {"model.user_exponent": 0.0},
    "dropout 0.3": {"model.encoder.dropout": 0.3},
    "each link from nearly all others": {"model.encoder.batches_per_user": 0},
    "user embeddings: GraphSAGE, softmax": SAGE | {"model.losses": {"softmax": 1.0, "bce": 1.0}},
    "user embeddings: GraphSAGE, BCE": SAGE,
    "the tutorial": TUTORIAL
    | {"data.split.disjoint_train_ratio": 0.3}
    | {"data.sampling.exclude_seed_links": False, "data.sampling.exact_negatives": False},
}
"""By name, what is changed of the default configuration."""
LINEAR = "linear part alone"
SHOWN = ("recall@20", "ndcg@20")
_TEST = "ndcg@20"


@dataclass
class Line:
    """One model over all seeds.

    Attributes:
        name: the model or variant.
        runs: for each seed its metrics.
        values: for each seed the values of each metric in ``SHOWN``, [num_users] by user index, NaN without held-out
            movies.
    """

    name: str
    runs: list[dict[str, float]] = field(default_factory=list)
    values: list[dict[str, NDArray[np.float64]]] = field(default_factory=list)

    def by_user(self, metric: str) -> NDArray[np.float64]:
        """[num_users] mean over the seeds in which a user has held-out movies; NaN where there is none."""
        stacked = np.stack([values[metric] for values in self.values])
        count = (~np.isnan(stacked)).sum(axis=0)
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = np.nansum(stacked, axis=0) / count
        return mean


def ablate(args: Sequence[str] | None = None) -> None:
    """Trains variants of the model for each seed, judges them beside baselines, prints a table and writes it.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: a variant or baseline is unknown, or the data cannot be read.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    options, flags = _parse(args)
    lines = [Line(name) for name in (*options.variants, *options.baselines)]
    for seed in options.seeds:
        _run_seed(lines, options, flags, seed)
        _write(options, lines)
    Console(width=100).print(_table(options, lines))
    print(f"written to {options.out}")


def _parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    parser = SettingsParser(
        prog="lightning-lp ablate",
        description="Variants of the model over several seeds. Options of fit follow after --.",
    )
    parser.add_argument("--variants", type=list[str], default=list(VARIANTS), help="names, as JSON list; default: all")
    parser.add_argument(
        "--baselines",
        type=list[str],
        default=[LINEAR, "EDLAE + features", "EASE + features", "EASE", "iALS"],
        help=f"names, as JSON list: those of compare, and '{LINEAR}', which is the first variant's",
    )
    parser.add_argument("--seeds", type=list[int], default=[0, 1, 2], help="seeds of split and training")
    parser.add_argument("--part", type=Part, default="validation", help="part of the split whose links are ranked")
    parser.add_argument("--out", type=Path, default=Path("lightning_logs/ablation.json"), help="file to write")
    parser.add_argument("flags", nargs="*", help="options of fit, such as --data.root DIR")
    options = parser.parse_args(args)
    for kind, known in (("variants", VARIANTS), ("baselines", (LINEAR, *BASELINES, *BY_TIME))):
        for name in options[kind]:
            if name not in known:
                raise UserError(f"--{kind} {name}: not one of {', '.join(known)}")
    return options, resolved(options.flags)


def _run_seed(lines: list[Line], options: Namespace, flags: list[str], seed: int) -> None:
    comparison: Comparison | None = None
    for line in lines:
        if line.name in VARIANTS:
            data, module, seconds = _fit(VARIANTS[line.name], flags, seed)
            if comparison is None:  # the parts are the same whatever a variant changes of training
                comparison, candidates = Comparison(data, options.part, seed), _candidates(module)
            entry = comparison.add_model(module, seconds)
        else:
            if comparison is None:
                raise UserError("--variants: at least one is needed beside the baselines")
            if line.name in BY_TIME and not comparison.is_by_time:
                raise UserError(f"--baselines {line.name} needs a split by time: give --data.split.strategy temporal")
            entry = comparison.add_baseline(line.name, candidates[line.name], search=True)
        ranking = comparison.ranking(entry.name)
        line.runs.append({"seed": seed, "auroc": entry.auroc or 0.0, "fit_s": entry.fit_s or 0.0, **entry.metrics})
        line.values.append({})
        for metric in SHOWN:
            line.values[-1][metric] = _by_user(ranking, metric, data.num_users)
        shown = ", ".join(f"{metric} {line.runs[-1][metric]:.4f}" for metric in ("auroc", *SHOWN))
        print(f"seed {seed}, {line.name}: {shown}, {entry.fit_s:.1f} s", flush=True)


def _by_user(ranking: Ranking, metric: str, num_users: int) -> NDArray[np.float64]:
    """[num_users] means over the queries of each user; NaN where there is none."""
    users, values = ranking.users.numpy(), ranking.values[metric].numpy()
    sums, counts = np.bincount(users, values, num_users), np.bincount(users, minlength=num_users)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(num_users, np.nan), where=counts > 0)
    return means


def _candidates(module: LinkPredictionModule) -> Mapping[str, Candidate]:
    """What is fitted beside the variants: the baselines, and the linear part of the first variant at its settings."""
    options = module.encoder.options
    names = {"channels": "spectral_channels", "l2": "spectral_l2"}
    linear = LinearPart(**{name: options[option] for name, option in names.items() if options.get(option) is not None})
    return {**BASELINES, **BY_TIME, LINEAR: Candidate(linear)}


def _given(changes: Mapping[str, Any]) -> list[str]:
    """A variant as flags of fit."""
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changes.items()]


def _fit(changes: Mapping[str, Any], flags: list[str], seed: int) -> Any:
    """Trains in a folder that is then removed. Returns data, module with the best weights, and seconds."""
    seeds = [f"--seed_everything={seed}", f"--data.split.seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        cli = main(["fit", *flags, *_given(changes), *seeds, f"--trainer.default_root_dir={folder}"])
    return cli.datamodule, cli.model, cli.results.results["timing"]["fit_s"]


def _summary(options: Namespace, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """For each model means, standard deviations over seeds, and the first model's lead over it."""
    first, summary = lines[0], []
    for line in lines:
        runs = {name: np.array([run[name] for run in line.runs]) for name in ("auroc", *SHOWN, "fit_s")}
        entry: dict[str, Any] = {
            "name": line.name,
            "mean": {name: float(values.mean()) for name, values in runs.items()},
            "std": {name: float(values.std(ddof=1)) if len(values) > 1 else 0.0 for name, values in runs.items()},
            "runs": line.runs,
        }
        for metric in SHOWN if line is not first else ():
            mine, other = (one.by_user(metric) for one in (first, line))
            both = ~np.isnan(mine) & ~np.isnan(other)
            (test,) = paired_tests(mine[both], [other[both]], seed=0)
            entry[f"lead_{metric}"] = {"difference": test.difference, "p": test.p}
        summary.append(entry)
    return summary


def _write(options: Namespace, lines: Sequence[Line]) -> None:
    """Writes what is known after each seed, so that a study that is stopped leaves the seeds it finished."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"part": options.part, "flags": options.flags, "models": _summary(options, lines)}
    with replacing(options.out) as path:
        Path(path).write_text(json.dumps(content, indent=2) + "\n")


def _table(options: Namespace, lines: Sequence[Line]) -> Table:
    seeds = ", ".join(map(str, options.seeds))
    table = Table(title=f"{options.part}, mean ± standard deviation over seeds {seeds}", box=None)
    for column in ("model", "AUROC", "Recall@20", "NDCG@20", "p", "fit"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for entry in _summary(options, lines):
        cells = [f"{entry['mean'][name]:.4f} ± {entry['std'][name]:.4f}" for name in ("auroc", *SHOWN)]
        p = entry.get(f"lead_{_TEST}", {}).get("p")
        table.add_row(entry["name"], *cells, "" if p is None else f"{p:.4f}", f"{entry['mean']['fit_s']:.1f} s")
    table.caption = "p: of the difference to the first line in NDCG@20, paired over users, each user's mean over seeds"
    return table
