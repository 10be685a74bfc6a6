"""The command ``tune``: a search for the model's settings by Optuna, on validation; test is never looked at."""

import copy
import math
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lightning_lp.checkpointing import signals
from lightning_lp.commands.cli import main, settings_of
from lightning_lp.commands.configs import begun
from lightning_lp.commands.parser import Parser
from lightning_lp.commands.quiet import without_output
from lightning_lp.commands.tune.study import METRIC, best_of, finished_of, opened, prepare, queue_again
from lightning_lp.commands.tune.summary import at, show, with_params, write_summary
from lightning_lp.errors import UserError
from lightning_lp.evaluation.direction import VALIDATION
from lightning_lp.model.settings import check_model

SPACE: Mapping[str, BaseDistribution] = {
    # below `model`                    low    high
    "lr": FloatDistribution(          1e-4,   1e-2, log=True),
    "weight_decay": FloatDistribution(1e-5,   3e-2, log=True),
    "hidden_channels": CategoricalDistribution((64, 96, 128, 256)),
    "dropout": FloatDistribution(      0.0,    0.6),
    "user_exponent": FloatDistribution(0.0,    1.0),
    "losses.bce": FloatDistribution(   0.1,   10.0, log=True),
}  # fmt: skip
"""What is searched, and between which bounds. What the linear part counts is not: a fit chooses it."""

DEFAULT_STUDY = Path("lightning_logs/tune/study.db")
_REFUSED = (
    *("--seed_everything", "--data.split.seed", "--data.split_seed", "--ckpt_path"),
    *("--resume", "--print_config"),
)
_DIVERGED = ("the training loss is", "the validation loss is")
"""How a fit's refusal to go on without finite numbers begins."""


def run_search(args: Sequence[str] | None = None) -> None:
    """Searches until the study has the trials wanted, prints the best and writes them beside the study.

    A trial trains the model once for each seed, which is the split's, too; its value is the mean. The first trial is
    the settings given. A search that was stopped goes on where it was.

    Args:
        args: the options. Default: those of the process.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, ``--help``, or status 130 (143) after Ctrl-C (SIGTERM).
    """
    options, flags = _parse(args)
    settings = settings_of(begun(flags))
    _check_settings(settings)
    status = 0
    with signals.exiting(), opened(options.study, options.metric) as study:
        space, start = space_of(settings["model"]), start_of(settings["model"])
        shown = {name: repr(space[name]) for name in space}
        fixed = {"metric": options.metric, "seeds": options.seeds, "space": shown, **settings}
        prepare(study, start, fixed)
        for name, value in start.items():
            if value != (given := at(settings["model"], name)):
                print(f"{name} {given} is not searched: the first trial has {value}", file=sys.stderr)
        try:
            search(study, settings, options.trials, options.seeds, options.metric)
        except SystemExit as end:  # a signal
            status = int(end.code or 0)
        finally:
            queue_again(study)
        if best_of(study) is None:
            print("stopped before a trial was finished: the same command goes on")
        else:
            show(study, options.seeds, options.metric)
            written = write_summary(study, settings, options.study.parent, options.seeds, options.metric)
            print(f"written to {options.study.parent}: {', '.join(written)}")
    if status:
        sys.exit(status)


def _parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog="lightning-lp tune",
        description="Further flags are those of fit, such as --data.root DIR or --config FILE.",
    )
    parser.add_argument(
        "--trials", type=int, default=50, metavar="N", help="finished trials the study is to have (default: 50)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1], metavar="S", help="of split and training (default: 0 1)"
    )
    parser.add_argument(
        "--metric",
        choices=VALIDATION,
        default=METRIC,
        metavar="NAME",
        help=f"of validation, which the best trial has best (default: {METRIC}); one of {', '.join(VALIDATION)}",
    )
    parser.add_argument(
        "--study",
        type=Path,
        default=DEFAULT_STUDY,
        metavar="FILE",
        help=f"to make or continue (default: {DEFAULT_STUDY})",
    )
    options, flags = parser.parse_known_args(args)
    _check(options.trials, options.seeds, flags)
    return options, flags


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuses settings of ``fit`` that no trial could be trained or judged with."""
    check_model(settings["model"])
    for option, value in (
        ("data.split.num_val", settings["data"]["split"]["num_val"]),
        ("trainer.limit_val_batches", settings["trainer"]["limit_val_batches"]),
    ):
        if value == 0:
            raise UserError(f"--{option} 0: a search needs validation; leave the option out")
    devices = settings["trainer"]["devices"]
    is_one = devices in ("auto", 1, "1") or (isinstance(devices, list) and len(devices) == 1)
    if not is_one or settings["trainer"]["num_nodes"] != 1:
        raise UserError(f"--trainer.devices {devices}: a search trains on one device; leave the option out")


def space_of(model: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """``SPACE`` without what the model's encoder and losses do not read, and what is to follow from the data (null)."""
    known = model | model["encoder"]["init_args"]
    unused = {name for name in SPACE if known.get(name.split(".")[0]) is None}
    if "bce" not in model["losses"] or len(model["losses"]) == 1:
        unused |= {"losses.bce"}
    if set(model["losses"]) == {"bce"}:
        unused |= {"user_exponent"}
    return {name: distribution for name, distribution in SPACE.items() if name not in unused}


def start_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the space that is nearest to the settings given."""
    start = {}
    for name, distribution in space_of(model).items():
        value = at(model, name)
        if isinstance(distribution, CategoricalDistribution):
            start[name] = min(distribution.choices, key=lambda choice, value=value: abs(choice - value))  # type: ignore
        elif isinstance(distribution, FloatDistribution):
            start[name] = min(max(float(value), distribution.low), distribution.high)
    return start


def search(
    study: optuna.Study, settings: Mapping[str, Any], trials: int, seeds: Sequence[int], metric: str = METRIC
) -> None:
    """Adds trials until ``trials`` are finished. They are the same whether or not the search was stopped between."""
    space = space_of(settings["model"])
    with _progress() as progress:
        task = progress.add_task(_best(study, metric), total=trials)
        while (done := len(finished_of(study))) < trials:
            study.sampler = TPESampler(seed=done)
            trial = study.ask(space)
            values = []
            for seed in seeds:
                values.append(measure(with_params(settings, trial.params), seed, metric))
                progress.update(task, completed=done + len(values) / len(seeds))
            trial.set_user_attr(metric, values)
            value = sum(values) / len(values)
            study.tell(trial, value)
            progress.update(task, description=_best(study, metric))
            progress.console.print(f"trial {trial.number}: {metric} {value:.4f}", highlight=False)


def measure(settings: Mapping[str, Any], seed: int, metric: str = METRIC) -> float:
    """Trains one model in a folder that is then removed.

    Args:
        settings: those of ``fit``.
        seed: of the split and of training.
        metric: what to measure.

    Returns:
        The metric of the best checkpoint on validation. If the training diverged, 0 or, where small is good, infinity.
    """
    own: dict[str, Any] = copy.deepcopy(dict(settings))
    own["seed_everything"] = own["data"]["split"]["seed"] = seed
    with tempfile.TemporaryDirectory() as folder, without_output():
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        own["trainer"] |= {**quiet, "default_root_dir": folder}
        if own["trainer"]["devices"] == "auto":
            own["trainer"]["devices"] = 1
        config = Path(folder) / "settings.yaml"
        config.write_text(yaml.safe_dump(own))
        try:
            fitted = main(["fit", "--config", str(config)])
        except UserError as error:
            if str(error).startswith(_DIVERGED):
                return 0.0 if VALIDATION[metric] == "max" else math.inf
            raise
    found = fitted.results.results.get("validation", {}).get(metric)
    if found is None:
        raise UserError(
            f"--metric {metric} has no value on the validation part (--data.split.num_val, "
            "--trainer.limit_val_batches): hold out more of the links, or choose another metric"
        )
    return float(found)


def _check(trials: int, seeds: Sequence[int], flags: Sequence[str]) -> None:
    if trials < 1:
        raise UserError(f"--trials {trials}: 1 or more wanted")
    if min(seeds) < 0 or max(seeds) >= 2**32 or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: different numbers, 0 or more and less than 2^32, wanted")
    for name in (flag.partition("=")[0] for flag in flags):
        if name in _REFUSED:
            raise UserError(f"{name} has no place in a search: every trial begins anew, with each seed of --seeds")


def _best(study: optuna.Study, metric: str) -> str:
    best = best_of(study)
    return "no trial yet" if best is None else f"best {metric} {best.value:.4f}"


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
