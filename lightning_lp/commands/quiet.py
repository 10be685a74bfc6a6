"""Keeps quiet what a user has nothing from."""

import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

from pytorch_lightning.loggers import Logger

_EXPECTED = (
    "LightningCLI's args parameter",
    ".*does not have many workers",
    ".*LeafSpec",
    # About runs that were begun with Lightning's early stopping: ``RunEarlyStopping`` takes its state.
    r"Be aware that when using .ckpt_path.*\[.EarlyStopping\{[^{]*$",
    "Total length of `list` across ranks is zero",  # --data.split.num_val 0
)
"""How warnings begin that say nothing is wrong."""


def leave_out_noise() -> None:
    """Leaves out warnings that are expected, and what Lightning advertises."""
    for expected in _EXPECTED:
        warnings.filterwarnings("ignore", message=expected)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


@contextmanager
def unlogged(loggers: Iterable[Logger]) -> Iterator[None]:
    """Keeps the metrics of a stage that follows a fit out of the fit's curves; figures and texts are logged as ever.

    Trainer and callbacks have the metrics all the same, and the callback ``Results`` shows them in its own way.
    """
    silenced = list(loggers)
    for logger in silenced:
        vars(logger)["log_metrics"] = _log_nothing
    try:
        yield
    finally:
        for logger in silenced:
            vars(logger).pop("log_metrics", None)


def _log_nothing(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Stands before a logger's own method; no lambda, because strategies that start processes pickle it."""


@contextmanager
def without_output() -> Iterator[None]:
    """Leaves out what a fit prints, but for warnings."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
