"""Tells what was read and how it was split: in the terminal and in TensorBoard."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightning_lp.data.datamodule import MovieLensDataModule, data_of
from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.escape import markdown, visible
from lightning_lp.graph.split import LinkSplit

SPLIT_COLUMNS = ("part", "messages", "links", "non-links", "% of all", "cold users", "cold movies")


class DataReport(Callback):
    """Prints the data set and the split once, when the first stage begins."""

    def __init__(self) -> None:
        self._is_printed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Prints the report."""
        data = data_of(trainer)
        if data is not None and not self._is_printed:
            self._is_printed = True
            self._print(data)
            if trainer.state.fn != TrainerFn.FITTING:
                self._log(trainer, data)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the report, unless a run is continued: then it is in the log."""
        data = data_of(trainer)
        if data is not None and not trainer.ckpt_path:
            self._log(trainer, data)

    @rank_zero_only
    def _print(self, data: MovieLensDataModule) -> None:
        summary, title, rows = _report(data)
        columns = ["\n".join(name.rsplit(" ", 1)) for name in SPLIT_COLUMNS]  # narrow: the numbers may be wide
        table = Table(
            *columns, title=title, box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left", title_style="bold"
        )
        for column in table.columns:
            column.justify = "left" if column is table.columns[0] else "right"
            column.no_wrap = True
        for row in rows:
            table.add_row(*row)
        console = Console()
        console.print(visible(summary, keep="\n"), markup=False, highlight=False, soft_wrap=True)
        console.print(table)

    @rank_zero_only
    def _log(self, trainer: pl.Trainer, data: MovieLensDataModule) -> None:
        summary, title, rows = _report(data)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                lines = [SPLIT_COLUMNS, ("---",) * len(SPLIT_COLUMNS), *rows]
                table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
                head = markdown(summary, keep="\n")
                logger.experiment.add_text("data", f"{head}\n\n{title}\n\n{table}")


def _report(data: MovieLensDataModule) -> tuple[str, str, list[tuple[str, ...]]]:
    """Summary of the data, title and rows of the table of its split."""
    strategy, seed = data.split_settings.strategy, data.split_settings.seed
    title = f"split {strategy}, seed {seed}, fingerprint {data.split.fingerprint}"
    return data_summary(data), title, split_rows(data.split)


def data_summary(data: MovieLensDataModule) -> str:
    """What was read from where; for each of the files how many rows were kept and left out, and why; and notes.

    Where the split is by time, it tells what share of each part is tied.
    """
    graph, tables = data.graph, data.tables
    lines = [
        f"{data.dataset_name}: {len(graph.users):,} users, {len(graph.movies):,} movies, "
        f"{graph.data[RATES].num_edges:,} links, {len(graph.genre_vocabulary)} genre columns ({data.root})"
    ]
    for rows, read, dropped in (
        ("rating rows", tables.rows_read, tables.dropped | data.below_min_rating),
        ("movie rows", tables.movie_rows_read, tables.movies_dropped),
    ):
        if not read:
            continue
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        left_out = sum(dropped.values())
        lines.append(
            f"{read:,} {rows} read: {read - left_out:,} kept, {left_out:,} left out" + f" ({reasons})" * bool(reasons)
        )
    if data.is_by_time:
        shares = ", ".join(f"{100 * share:.1f} % of {part}" for part, share in data.tied.items() if share is not None)
        lines += [f"tied in time with another link of their user, so that neither is earlier: {shares}"] * bool(shares)
    return "\n".join([*lines, *(f"note: {note}" for note in tables.notes)])


def split_rows(split: LinkSplit) -> list[tuple[str, ...]]:
    """The split as a table with the columns ``SPLIT_COLUMNS``, a row for each part that there is.

    Cold users and movies are those of a part's links that have no message, so that nothing but their embeddings
    (and genres) speaks for them.
    """
    rows = []
    for part, graph in {"train": split.train, **split.held_out}.items():
        store = graph[RATES]
        links = store.edge_label_index[:, store.edge_label > 0]
        num_labels, num_links = store.edge_label.numel(), links.size(1)
        cold = [
            _num_unseen(links[end], store.edge_index[end], graph[kind].num_nodes)
            for end, kind in enumerate((USER, MOVIE))
        ]
        counts = (store.num_edges, num_links, num_labels - num_links)
        share = f"{100 * (num_labels - num_links) / num_labels:.1f}"
        rows.append((part, *(f"{n:,}" for n in counts), share, *(f"{n:,}" for n in cold)))
    return rows


def _num_unseen(nodes: Tensor, seen: Tensor, num_nodes: int) -> int:
    is_unseen = torch.zeros(num_nodes, dtype=torch.bool)
    is_unseen[nodes] = True
    is_unseen[seen] = False
    return int(is_unseen.sum())
