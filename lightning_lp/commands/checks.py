"""Refuses settings that Lightning would take without a word, or fail at with a traceback."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.strategies import StrategyRegistry

from lightning_lp.checkpointing.files import read_checkpoint
from lightning_lp.commands.spelling import fixed_options
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError


def check_settings(config: Namespace, options: LightningArgumentParser) -> None:
    """Refuses values of the options of a command.

    Args:
        config: the values.
        options: the command's parser.

    Raises:
        UserError: with the option, and what is wanted.
    """
    _check_nulls(config, options)
    _check_sizes(config)
    _check_strategy(config.trainer.strategy)


def _check_nulls(config: Namespace, options: LightningArgumentParser) -> None:
    """Refuses null where a value is wanted: the parser takes it for any type."""
    for flag, action in options._option_string_actions.items():
        kind = getattr(action, "_typehint", Any)
        is_wanted = action.default is not None and kind is not Any and NoneType not in get_args(kind)
        if is_wanted and config.get(action.dest, action.default) is None:
            raise UserError(f"{flag} null: a value wanted; the default is {action.default}")


def _check_sizes(config: Namespace) -> None:
    """Refuses what torch or Lightning fail at without naming the option, or do nothing with."""
    for name in ("check_val_every_n_epoch", "val_check_interval", "accumulate_grad_batches"):
        value = config.get("trainer", {}).get(name)
        if isinstance(value, int | float) and value <= 0:
            raise UserError(f"--trainer.{name} {value}: more than 0 wanted")


def _check_strategy(strategy: Any) -> None:
    """Refuses processes that are copies of this one: what they train and measure ends with them."""
    name = strategy if isinstance(strategy, str) else strategy.class_path
    known = StrategyRegistry[name]["init_params"] if name in StrategyRegistry else {}
    options = known if isinstance(strategy, str) else strategy.get("init_args", {})
    if options.get("start_method") in ("spawn", "fork", "forkserver"):
        raise UserError(
            f"--trainer.strategy {name} is for notebooks and Python, and cannot hand a command the results of its "
            "processes: give --trainer.strategy ddp"
        )


def check_checkpoint(path: str | None, args: Sequence[str], command: str) -> dict[str, Any]:
    """Refuses a file that is no checkpoint, and options of the model that the checkpoint has fixed already.

    Args:
        path: the checkpoint; a fit may have none.
        args: the command with its options.
        command: its name.

    Returns:
        What is in the file, tensors read only where they are used: the Trainer reads them. Nothing without a file.

    Raises:
        UserError: with the option or the file, and what to do.
    """
    if path is None:
        if command != "fit":
            raise UserError(f"{command} needs a trained model: give --ckpt_path FILE")
        return {}
    if not Path(path).is_file():
        raise UserError(f"--ckpt_path {path}: no such file")
    checkpoint = read_checkpoint(path, lazily=True)
    if command == "fit" and "optimizer_states" not in checkpoint:
        raise UserError(
            f"{path} holds weights alone (--checkpoint.save_weights_only true), and no training can go on without "
            "the state of its optimiser: train anew"
        )
    fixed = fixed_options(checkpoint["hyper_parameters"])
    for name, value in re.findall(r"--model\.([\w.]+)[= ](\S+)", " ".join(args)):
        if name in fixed and yaml.safe_load(value) != fixed[name]:
            raise UserError(
                f"--model.{name} {value}: {path} was trained with {fixed[name]}, which cannot be changed now: "
                "leave the option out, or train anew"
            )
    return checkpoint


def check_test_batches(limit: float, data: MovieLensDataModule) -> None:
    """Refuses a share of the test batches that leaves none.

    Args:
        limit: the Trainer's ``limit_test_batches``.
        data: after ``setup``.

    Raises:
        UserError: with the number of batches.
    """
    if not 0 < limit < 1 or "test" not in data.split.held_out:
        return
    batches = math.ceil(data.split.test[RATES].edge_label.numel() / data.hparams["eval_batch_size"])
    if limit * batches < 1:
        raise UserError(f"--trainer.limit_test_batches {limit}: of {batches} batches none would be left: give more")
