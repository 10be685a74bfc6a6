"""The command line: LightningCLI with this project's model, data, callbacks and defaults."""

import io
import logging
import math
import re
import sys
import warnings
from argparse import SUPPRESS
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, cast, get_args

import pytorch_lightning as pl
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from pytorch_lightning.callbacks import BatchSizeFinder, Callback, LearningRateFinder
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.strategies import StrategyRegistry

from lightning_lp.callbacks.checkpoints import RunCheckpoint, checkpoint_of
from lightning_lp.callbacks.continuation import Continuation
from lightning_lp.callbacks.curves import Curves
from lightning_lp.callbacks.data_report import DataReport
from lightning_lp.callbacks.early_stopping import RunEarlyStopping
from lightning_lp.callbacks.finite import FiniteNumbers
from lightning_lp.callbacks.predictions import PredictionWriter
from lightning_lp.callbacks.ranking import RankingMetrics
from lightning_lp.callbacks.results import Results
from lightning_lp.callbacks.run_config import RunConfig
from lightning_lp.callbacks.samples import Samples
from lightning_lp.callbacks.throughput import Throughput
from lightning_lp.checkpointing import resume, signals
from lightning_lp.checkpointing.event_log import logs_of
from lightning_lp.checkpointing.files import DurableCheckpointIO, read_checkpoint
from lightning_lp.checkpointing.places import checkpoint_folder, run_of
from lightning_lp.commands.making import Maker
from lightning_lp.commands.mistakes import check_config, explain
from lightning_lp.commands.spelling import fixed_options, spelled_flags, spelled_settings
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.escape import visible
from lightning_lp.model.encoders.registry import DEFAULT, ENCODERS
from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.plain import readable

MONITOR = "val/auroc"
_OLD_STATE = r"Be aware that when using .ckpt_path.*\[.EarlyStopping\{[^{]*$"
"""A warning about runs that were begun with Lightning's early stopping: ``RunEarlyStopping`` takes its state."""
_SEARCHES = (LearningRateFinder, BatchSizeFinder)
"""Callbacks that look for a setting before a fit: what they found is in a checkpoint."""
COMMANDS = ("fit", "validate", "test", "predict")
"""The Trainer's methods that are offered."""


_YAML = "lightning_lp"
set_loader(_YAML, lambda text: spelled_settings(get_loader("yaml")(text)), (yaml.YAMLError,))


class Parser(LightningArgumentParser):
    """Answers a wrong option with one sentence and the nearest right name, not with all names there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Without abbreviations: a part of --resume would be a run from the start.
        super().__init__(*args, allow_abbrev=False, **{"parser_mode": _YAML, **kwargs})
        self.linked: dict[str, str] = {}

    def link_arguments(self, source: Any, target: str, *args: Any, **kwargs: Any) -> None:
        """Links as jsonargparse does, and remembers what follows from what."""
        super().link_arguments(source, target, *args, **kwargs)
        self.linked[target] = str(source)

    def dump(self, cfg: Namespace, **kwargs: Any) -> str:
        """Writes settings as YAML, also those that a class has as an enumeration or a device by default."""
        return str(super().dump(readable(cfg), **kwargs))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with status 2; in the reading of a class's own options, tells the parser that reads them."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        options = f"all options: {parser.prog.replace(' [options]', '')} --help"
        print(f"error: {visible(explain(message, parser._option_string_actions))}\n{options}", file=sys.stderr)
        sys.exit(2)


class LinkPredictionCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` for :class:`LinkPredictionModule`.

    After ``fit`` the best checkpoint is validated, so that ``results.json`` describes the model that the run
    recommends.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = kwargs["args"][:1]
        self._names = given if given and given[0] in COMMANDS else COMMANDS  # the options of each take a while to build
        super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the callbacks with options, and links what would otherwise be typed twice."""
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RunEarlyStopping, "early_stopping")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.add_lightning_class_args(RankingMetrics, "ranking")
        parser.set_defaults(
            {
                "checkpoint.monitor": MONITOR,
                "checkpoint.save_last": True,
                "checkpoint.filename": "{epoch}-{step}",
                "early_stopping.monitor": MONITOR,
                "early_stopping.patience": 4,
                "model.encoder": {"class_path": ENCODERS[DEFAULT]},
            }
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        for size in ("num_users", "num_movies", "num_features", "num_terms", "max_terms"):
            parser.link_arguments(f"data.{size}", f"model.{size}", apply_on="instantiate")

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The Trainer's methods that are offered, with the arguments that are not options."""
        return {name: LightningCLI.subcommands()[name] for name in self._names}

    def setup_parser(self, *args: Any) -> None:
        """Lets ``fit --help`` tell of what :mod:`lightning_lp.checkpointing.resume` replaces by other options."""
        super().setup_parser(*args)
        if "fit" in self._names:
            about = "continue the newest run, or RUN, exactly, with its own settings; what follows changes some of them"
            self._subcommand_parsers["fit"].add_argument(
                resume.RESUME, nargs="?", metavar="RUN", default=SUPPRESS, help=about
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses, and refuses what Lightning would do without a word or with a traceback."""
        given = sys.argv[1:] if args is None else list(args)
        options = cast(Parser, self._subcommand_parsers.get(given[0]) if given else None)
        if options is not None:
            for path in re.findall(r"--config[=\0]([^\0]+)", "\0".join(given)):
                flags = [flag for flag in options._option_string_actions if flag != resume.RESUME]
                check_config(path, flags, options.linked)
        super().parse_arguments(parser, args)
        command = self.config["subcommand"]
        _check_nulls(self.config[command], self._subcommand_parsers[command])
        _check_sizes(self.config[command])
        _check_strategy(self.config[command].trainer.strategy)
        path = self.config[command].get("ckpt_path")
        if command != "fit":  # the best model's file and the callbacks' states are of interest to a fit alone
            warnings.filterwarnings("ignore", message="Be aware that when using .ckpt_path.")
        if path is None and command != "fit":
            raise UserError(f"{command} needs a trained model: give --ckpt_path FILE")
        if path is not None:
            _check_checkpoint(path, given, command)
            if command == "fit":
                run_of(Path(path), read_checkpoint(path, lazily=True))
                warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # it is the run's own

    def _add_instantiators(self) -> None:
        super()._add_instantiators()
        self._maker = Maker()
        self.parser.add_instantiator(self._maker, object)

    def instantiate_classes(self) -> None:
        """Makes all objects that settings ask for."""
        try:
            super().instantiate_classes()
        except Exception as error:
            if sentence := self._maker.refusal(error, self.config[self.subcommand]):
                raise UserError(sentence) from error
            raise

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Makes the Trainer; a continued run goes on in its own folder."""
        config = self.config[self.subcommand]
        path = Path(config.ckpt_path) if self.subcommand == "fit" and config.ckpt_path else None
        content = read_checkpoint(path, lazily=True) if path else {}
        if path:
            loggers, logs = self._get(self.config_init, "trainer").logger, logs_of(path, content)
            kwargs["logger"] = resume.continued_loggers(loggers, config.trainer.logger, logs, run_of(path, content))
        trainer = super().instantiate_trainer(**kwargs)
        trainer.strategy.checkpoint_io = DurableCheckpointIO(only_own=True)
        if path and (checkpoint := checkpoint_of(trainer)):
            checkpoint.continue_in(run_of(path, content), checkpoint_folder(path, content))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Continuation):
                callback.open_logs(trainer, content)
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> pl.Trainer:
        """Leaves out of what is added here what the Trainer's own settings exclude, and what a stopped run has done."""
        is_bare = config["barebones"]
        if is_bare:
            config["log_every_n_steps"], self.save_config_callback = None, None
            warnings.filterwarnings("ignore", message="You are trying to `self.log")
        if is_bare or config["enable_checkpointing"] is False:
            callbacks = [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]
        if self.config[self.subcommand].get("ckpt_path"):
            given = config["callbacks"] if isinstance(config["callbacks"], list) else [config["callbacks"]]
            config["callbacks"] = [each for each in given if each is not None and type(each) not in _SEARCHES]
        return super()._instantiate_trainer(config, callbacks)

    def before_fit(self) -> None:
        """Refuses before the training what Lightning would refuse in the test after it."""
        limit = self.trainer.limit_test_batches
        if not 0 < limit < 1 or "test" not in self.datamodule.split.held_out:
            return
        labels = self.datamodule.split.test[RATES].edge_label.numel()
        batches = math.ceil(labels / self.datamodule.hparams["eval_batch_size"])
        if limit * batches < 1:
            raise UserError(f"--trainer.limit_test_batches {limit}: of {batches} batches none would be left: give more")

    def after_fit(self) -> None:
        """Validates the best checkpoint, unless no links are held out for that."""
        if "val" not in self.datamodule.split.held_out:
            return
        with _unlogged(self.trainer.loggers):
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=self.best_checkpoint, verbose=False)

    def test_best(self) -> None:
        """Tests the best checkpoint, unless no links are held out for that."""
        if "test" not in self.datamodule.split.held_out:
            return
        with _unlogged(logger for logger in self.trainer.loggers if isinstance(logger, TensorBoardLogger)):
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=self.best_checkpoint, verbose=False)

    @property
    def results(self) -> Results:
        """The callback that collects this run's results."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        return next(callback for callback in callbacks if isinstance(callback, Results))

    @property
    def best_checkpoint(self) -> str | None:
        """Path of the best checkpoint of this fit; none if the run keeps none (``--trainer.fast_dev_run``)."""
        checkpoint = checkpoint_of(self.trainer)
        return (checkpoint and checkpoint.best_model_path) or None


@contextmanager
def _unlogged(loggers: Iterable[Logger]) -> Iterator[None]:
    """Keeps the metrics of a stage that follows a fit out of the fit's curves; figures and texts are logged as ever.

    Trainer and callbacks have the metrics all the same, and :class:`Results` shows them in TensorBoard in its own way.
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


def _check_nulls(config: Namespace, options: LightningArgumentParser) -> None:
    """Refuses null where a value is wanted: the parser takes it for any type."""
    for flag, action in options._option_string_actions.items():
        kind = getattr(action, "_typehint", Any)
        is_wanted = action.default is not None and kind is not Any and NoneType not in get_args(kind)
        if is_wanted and config.get(action.dest, action.default) is None:
            raise UserError(f"{flag} null: a value wanted; the default is {action.default}")


def _check_sizes(config: Mapping[str, Any]) -> None:
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


def _check_checkpoint(path: str, args: list[str], command: str) -> None:
    """Refuses a file that is no checkpoint, and options of the model that the checkpoint has fixed already."""
    if not Path(path).is_file():
        raise UserError(f"--ckpt_path {path}: no such file")
    checkpoint = read_checkpoint(path)
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


def main(args: Sequence[str] | None = None, *, then_test: bool = False) -> LinkPredictionCLI:
    """Runs one command.

    Args:
        args: the command and its options. Default: those of the process. ``fit --resume [RUN]`` continues a run with
            its own settings.
        then_test: test the best checkpoint after a fit.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    no_part = "Total length of `list` across ranks is zero"  # --data.num_val 0
    for expected in (
        "LightningCLI's args parameter",
        ".*does not have many workers",
        ".*LeafSpec",
        _OLD_STATE,
        no_part,
    ):
        warnings.filterwarnings("ignore", message=expected)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)
    given = spelled_flags(resume.resolved(sys.argv[1:] if args is None else args))
    with signals.exiting():
        return _run(given, then_test)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def settings_of(flags: Sequence[str]) -> dict[str, Any]:
    """The settings of ``fit`` as they follow from its options.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed.
    """
    out = io.StringIO()
    try:
        with redirect_stdout(out):
            main(["fit", *flags, "--print_config"])
    except SystemExit as end:
        if end.code:
            raise
    settings: dict[str, Any] = yaml.safe_load(out.getvalue())
    return settings


def _run(args: list[str], then_test: bool) -> LinkPredictionCLI:
    throughput = Throughput()
    cli = LinkPredictionCLI(
        LinkPredictionModule,
        MovieLensDataModule,
        args=args,
        parser_class=Parser,
        seed_everything_default=0,
        save_config_callback=RunConfig,
        trainer_defaults={
            "max_epochs": 15,
            "log_every_n_steps": 5,
            "callbacks": [
                *(FiniteNumbers(), DataReport(), throughput, Curves(), Samples(), Results(throughput)),
                Continuation(),
            ],
        },
    )
    if cli.subcommand == "fit":
        if then_test:
            cli.test_best()
        cli.results.show()
    return cli
