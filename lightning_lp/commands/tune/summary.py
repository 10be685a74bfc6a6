"""What a search has found: a table, the trials as CSV, a figure of importances, and settings for ``fit``."""

import copy
import functools
import operator
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from matplotlib.figure import Figure
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial
from rich import box
from rich.console import Console
from rich.table import Table

from lightning_lp.atomic import replacing
from lightning_lp.commands.tune.study import METRIC, finished_of
from lightning_lp.escape import cells

_SHOWN = 5
_WIDTH = 80
_ENOUGH = 25
"""Trials of which the best fifth are five, as Optuna's manual advises."""


def at(model: Mapping[str, Any], name: str) -> Any:
    """The value of a setting of the model or of its encoder; its name may have dots."""
    return functools.reduce(operator.getitem, name.split("."), _group(model, name))


def _group(model: Mapping[str, Any], name: str) -> Any:
    """The settings that hold one of this name."""
    options = model["encoder"]["init_args"]
    return options if name in options else model


def with_params(settings: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the settings of ``fit`` with a trial's parameters, which are named from ``model`` down."""
    changed = copy.deepcopy(dict(settings))
    for name, value in params.items():
        *groups, key = name.split(".")
        functools.reduce(operator.getitem, groups, _group(changed["model"], name))[key] = value
    return changed


def show(study: optuna.Study, seeds: Sequence[int], metric: str = METRIC) -> None:
    """Prints the best trials and the start, a column each, in 80 columns."""
    trials = finished_of(study)
    columns = trials[:_SHOWN] + [trial for trial in trials[_SHOWN:] if "start" in trial.user_attrs]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("trial", no_wrap=True)
    for trial in columns:
        table.add_column("start" if "start" in trial.user_attrs else str(trial.number), justify="right", no_wrap=True)
    table.add_row(metric, *(f"{trial.value:.4f}" for trial in columns), style="bold", end_section=True)
    for name in columns[0].params:
        table.add_row(name, *(f"{trial.params[name]:.3g}" for trial in columns))
    console = Console(width=_WIDTH)
    console.print(f"{_about(metric, seeds)}: the best of {len(trials)} trials, and the start", highlight=False)
    console.print(table)


def write_summary(
    study: optuna.Study, settings: Mapping[str, Any], folder: Path, seeds: Sequence[int], metric: str = METRIC
) -> list[str]:
    """Writes ``best.yaml``, ``trials.csv`` and, of two or more finished trials, ``importance.png``.

    Args:
        study: with one finished trial or more.
        settings: those of ``fit``, without the best trial's.
        folder: where to write.
        seeds: of which a trial's value is the mean.
        metric: of which it is the value.

    Returns:
        The names of the files.
    """
    best, *others = finished_of(study)
    with replacing(folder / "best.yaml") as path:
        head = f"# Trial {best.number} of {1 + len(others)} finished ones: {_about(metric, seeds)}: {best.value:.4f}.\n"
        text = yaml.safe_dump(with_params(settings, best.params), sort_keys=False)
        path.write_text(head + text, encoding="utf-8")
    with replacing(folder / "trials.csv") as path:
        table = pd.DataFrame([_row(trial, seeds, metric) for trial in study.get_trials(deepcopy=False)])
        cells(table).to_csv(path, index=False)
    if not others:
        return ["best.yaml", "trials.csv"]
    with replacing(folder / "importance.png") as path:
        importance_figure(study).savefig(path, format="png", dpi=150)
    return ["best.yaml", "trials.csv", "importance.png"]


def importance_figure(study: optuna.Study) -> Figure:
    """Bars of how much each parameter matters for being among the best fifth of the trials.

    By PED-ANOVA (Watanabe, Bansal and Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance in
    arbitrary subspaces", IJCAI 2023), which unlike fANOVA needs no scikit-learn.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are few trials: the figure says how many
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.2))
    count = len(finished_of(study))
    names = sorted(found, key=lambda name: (found[name], name))
    figure = Figure(figsize=(7, 0.5 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [found[name] for name in names])
    axes.set(
        xlabel="importance (PED-ANOVA, best fifth)",
        title=f"{count} trials{', too few to tell' if count < _ENOUGH else ''}",
    )
    return figure


def _about(metric: str, seeds: Sequence[int]) -> str:
    several = f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"validation {metric}, {several}"


def _row(trial: FrozenTrial, seeds: Sequence[int], metric: str) -> dict[str, Any]:
    values = trial.user_attrs.get(metric, [None] * len(seeds))
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        metric: trial.value,
        **{f"{metric}_seed_{seed}": value for seed, value in zip(seeds, values, strict=True)},
        **trial.params,
        "start": "start" in trial.user_attrs,
        "retry_of": trial.user_attrs.get("retry_of"),
        "seconds": trial.duration.total_seconds() if trial.duration else None,
    }
