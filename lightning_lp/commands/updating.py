"""What ``update`` adds to a fit: it says what is new, and whether the model has become better."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from rich import box
from rich.console import Console
from rich.table import Table

from lightning_lp.checkpointing.best_log import shown
from lightning_lp.checkpointing.places import same
from lightning_lp.commands.cli import LinkPredictionCLI, main
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.previous import Changes
from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.escape import visible
from lightning_lp.evaluation.ranking import rank_queries
from lightning_lp.evaluation.ranking_task import kept_task
from lightning_lp.evaluation.scoring import score_query_labels, scorer_of
from lightning_lp.evaluation.significance import auroc
from lightning_lp.model.encoders.carry import known_rows
from lightning_lp.recommend.earlier import EarlierModel

COMPARED = ("auroc", "recall@20", "ndcg@20")
"""What an update is judged by."""


class NothingNewError(Exception):
    """The data are those that the run was trained on."""


class UpdateCLI(LinkPredictionCLI):
    """A fit that updates a run.

    Args:
        folder: the folder of that run, which stays as it is.
        args: as of ``LinkPredictionCLI``.
        kwargs: as of ``LinkPredictionCLI``.
    """

    def __init__(self, folder: Path, *args: Any, **kwargs: Any) -> None:
        self._folder = folder
        super().__init__(*args, **kwargs)

    def before_fit(self) -> None:
        """Says what is new, and measures the model as it was.

        Raises:
            NothingNewError: nothing is.
            UserError: the run would be written into the folder of the other, or has another encoder.
        """
        super().before_fit()
        changes = self.datamodule.changes
        if not changes:
            raise NothingNewError
        self._check_folders()
        known_rows(self.model.encoder, self.datamodule.start)
        if self.trainer.is_global_zero:
            print(visible(_told(changes, self._folder), keep="\n"))
            told = {"run": str(self._folder), "checkpoint": str(self.datamodule.previous.path), **asdict(changes)}
            told["validation_before"] = measured_before(self.datamodule, self.config.fit.ranking.max_users)
            self.results.results["update"] = told

    def _check_folders(self) -> None:
        """Refuses to write where the other run has its files, which settings that name a folder would."""
        logs, dirpath = self.trainer.log_dir, self.config.fit.checkpoint.dirpath
        if logs is not None and self.trainer.loggers and same(logs, self._folder):
            raise UserError(
                f"the update would be written into {self._folder}, the run that it updates: its settings name the "
                "logger's folder, give it another (--trainer.logger)"
            )
        before = self.datamodule.previous.path.parent
        if dirpath is not None and same(dirpath, before):
            raise UserError(
                f"the update would keep its checkpoints in {before}, with those of the run that it updates: give "
                "--checkpoint.dirpath DIR, or --checkpoint.dirpath null for its own folder"
            )

    def show_update(self) -> None:
        """Prints whether the model has become better on the same links."""
        results = self.results.results
        before, after = results.get("update", {}).get("validation_before"), results.get("validation")
        if not before or not after or not self.trainer.is_global_zero:
            return
        table = Table("validation, the same links", "before", "after", "", box=box.SIMPLE_HEAD)
        for name, value in before.items():
            now = after.get(name)
            word = "" if now is None or now == value else "better" if now > value else "worse"
            table.add_row(name, shown(value), shown(now), word)
        Console().print(table)


def updating(flags: Sequence[str], folder: Path) -> None:
    """Fits with these flags, which name the checkpoint of a run as ``--data.previous``.

    Args:
        flags: of ``fit``.
        folder: the folder of that run.

    Raises:
        NothingNewError: the data are those that the run was trained on.
        UserError: something that the user can put right.
    """
    cli = main(["fit", *flags], then_test=True, kind=partial(UpdateCLI, folder))
    cast(UpdateCLI, cli).show_update()


def measured_before(data: MovieLensDataModule, max_users: int | None = None) -> dict[str, float]:
    """What the model that is updated reaches on the validation links of now; nothing where there are none.

    Args:
        data: after ``setup``, with the run that is updated.
        max_users: for how many users is ranked, as of ``RankingMetrics``.
    """
    if "val" not in data.split.held_out or data.previous is None:
        return {}
    graph, history = data.split.val, data.split_settings.history
    model = EarlierModel(data.previous.path, data.previous.places(data.graph))
    score = scorer_of(cast(pl.LightningModule, model), graph, history, data.graph.data[RATES].get("rating"))
    assert score is not None
    found = rank_queries(kept_task(graph, data.graph.below_min_rating, max_users, history), score).means()
    scores = score_query_labels(graph, score, history)
    found["auroc"] = auroc(scores.double().numpy(), graph[RATES].edge_label.numpy() > 0)
    return {name: found[name] for name in COMPARED}


def _told(changes: Changes, folder: Path) -> str:
    """What is new, in words."""
    gone = changes.links_gone, changes.users_gone, changes.movies_gone
    lines = [f"since {folder}: {_counted(changes.links, changes.users, changes.movies)} new"]
    if any(gone):
        lines.append(f"gone: {_counted(*gone)}; rows of these users and movies are dropped")
    if changes.links_gone:
        lines.append("what ratings that are gone have taught the rest of the model stays in it")
    if changes.links_changed:
        lines.append(f"{changes.links_changed:,} ratings have another value or time")
    if changes.movies_changed:
        lines.append(f"{changes.movies_changed:,} movies have another title or other genres")
    if changes.links_kept:
        kept = f"{changes.links_kept:,} links that the split would hold out"
        lines.append(f"{kept} were trained on, or came before such, and are in training")
    return "\n".join(lines)


def _counted(links: int, users: int, movies: int) -> str:
    return f"{links:,} ratings, {users:,} users, {movies:,} movies"
