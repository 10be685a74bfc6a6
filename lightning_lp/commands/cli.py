"""The command line: LightningCLI with this project's model, data, callbacks and defaults."""

import io
import re
import sys
import warnings
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import BatchSizeFinder, Callback, LearningRateFinder
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger

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
from lightning_lp.checkpointing.checkpoint_io import DurableCheckpointIO
from lightning_lp.checkpointing.event_log import continued_loggers, logs_of
from lightning_lp.checkpointing.places import checkpoint_folder, run_of
from lightning_lp.commands import checks, configs, quiet
from lightning_lp.commands.making import Maker
from lightning_lp.commands.mistakes import check_config
from lightning_lp.commands.settings_parser import SettingsParser
from lightning_lp.commands.spelling import spelled_flags
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.registry import DEFAULT, ENCODERS, encoder_class
from lightning_lp.model.module import LinkPredictionModule

MONITOR = "val/auroc"
_SEARCHES = (LearningRateFinder, BatchSizeFinder)
"""Callbacks that look for a setting before a fit: what they found is in a checkpoint."""
COMMANDS = ("fit", "validate", "test", "predict")
"""The Trainer's methods that are offered."""


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
        parser._option_string_actions["--config"].help = f"YAML file, or settings by name: {', '.join(configs.names())}"
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
        for name in ENCODERS:
            encoder_class(name)  # so that --help names it
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
        for each in self._subcommand_parsers.values():
            cast(SettingsParser, each).read_whole_numbers_as_such()
        options = cast(SettingsParser, self._subcommand_parsers.get(given[0]) if given else None)
        if options is not None:
            for path in re.findall(r"--config[=\0]([^\0]+)", "\0".join(given)):
                flags = [flag for flag in options._option_string_actions if flag != resume.RESUME]
                check_config(path, flags, options.linked)
        super().parse_arguments(parser, args)
        command = self.config["subcommand"]
        checks.check_settings(self.config[command], self._subcommand_parsers[command])
        path = self.config[command].get("ckpt_path")
        self._checkpoint = checks.check_checkpoint(path, given, command)
        if command != "fit":  # the best model's file and the callbacks' states are of interest to a fit alone
            warnings.filterwarnings("ignore", message="Be aware that when using .ckpt_path.")
        elif path is not None:
            run_of(Path(path), self._checkpoint)
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # it is the run's own

    def _add_instantiators(self) -> None:
        super()._add_instantiators()
        self._maker = Maker()
        self.parser.add_instantiator(self._maker, object)

    def instantiate_classes(self) -> None:
        """Makes all objects that settings ask for.

        A checkpoint of a run that updates another tells of users, movies and links what the other did, and is there.
        """
        settings = self.config[self.subcommand].data
        updated = self._checkpoint.get("datamodule_hyper_parameters", {}).get("previous")
        if updated is not None:
            settings.previous = self.config[self.subcommand].ckpt_path
        try:
            super().instantiate_classes()
        except Exception as error:
            if sentence := self._maker.refusal(error, self.config[self.subcommand]):
                raise UserError(sentence) from error
            raise
        if updated is not None:
            settings.previous = self.datamodule.hparams["previous"] = updated

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Makes the Trainer; a continued run goes on in its own folder."""
        config = self.config[self.subcommand]
        path = Path(config.ckpt_path) if self.subcommand == "fit" and config.ckpt_path else None
        content, self._checkpoint = self._checkpoint if path else {}, {}  # it is not kept for all of the training
        if path:
            loggers, logs = self._get(self.config_init, "trainer").logger, logs_of(path, content)
            kwargs["logger"] = continued_loggers(loggers, config.trainer.logger, logs, run_of(path, content))
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
        checks.check_test_batches(self.trainer.limit_test_batches, self.datamodule)

    def after_fit(self) -> None:
        """Validates the best checkpoint, unless no links are held out for that."""
        if "val" not in self.datamodule.split.held_out:
            return
        with quiet.unlogged(self.trainer.loggers):
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=self.best_checkpoint, verbose=False)

    def test_best(self) -> None:
        """Tests the best checkpoint, unless no links are held out for that."""
        if "test" not in self.datamodule.split.held_out:
            return
        with quiet.unlogged(logger for logger in self.trainer.loggers if isinstance(logger, TensorBoardLogger)):
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


def main(
    args: Sequence[str] | None = None,
    *,
    then_test: bool = False,
    kind: Callable[..., LinkPredictionCLI] = LinkPredictionCLI,
) -> LinkPredictionCLI:
    """Runs one command.

    Args:
        args: the command and its options. Default: those of the process. ``fit --resume [RUN]`` continues a run with
            its own settings.
        then_test: test the best checkpoint after a fit.
        kind: what runs it.

    Raises:
        UserError: something that the user can put right.
        SystemExit: options that cannot be parsed, or ``--help``.
    """
    quiet.leave_out_noise()
    given = spelled_flags(resume.resolved(configs.resolved(sys.argv[1:] if args is None else args)))
    with signals.exiting():
        return _run(given, then_test, kind)


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


def _run(args: list[str], then_test: bool, kind: Callable[..., LinkPredictionCLI]) -> LinkPredictionCLI:
    throughput = Throughput()
    cli = kind(
        LinkPredictionModule,
        MovieLensDataModule,
        args=args,
        parser_class=SettingsParser,
        parser_kwargs={"prog": "lightning-lp"},
        seed_everything_default=0,
        save_config_callback=RunConfig,
        trainer_defaults={
            "max_epochs": 10,
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
