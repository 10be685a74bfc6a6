"""Shows a comparison: as a table in the terminal, as Markdown and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lightning_lp.atomic import replacing
from lightning_lp.checkpointing.results_file import write_results
from lightning_lp.escape import visible
from lightning_lp.evaluation.comparison import MODEL, TARGET, WITH_INTERVAL, Entry

_COLUMNS = ("model", "AUROC", "Recall@20", "NDCG@20", "cov.", "fit s")
_TEST_COLUMNS = ("diff.", "p", "p Holm")
NOTE = (
    "In brackets: 95 % bootstrap intervals over users. cov.: share of the catalogue in the lists of 20. "
    "fit s: seconds of the fit."
)
TEST_NOTE = (
    f"diff.: NDCG@20 of {MODEL} minus that of the row; p: two-sided randomisation test over users; "
    "p Holm: corrected for all rows."
)


def rich_table(title: str, entries: Sequence[Entry]) -> Table:
    """The comparison as a table of at most 100 columns, best NDCG@20 first; what was skipped stands below."""
    header, rows = _cells(entries)
    skipped = "\n".join(f"{entry.name} was skipped: {entry.skipped}" for entry in entries if entry.skipped)
    table = Table(
        *header,
        title=Text(visible(title)),
        caption="\n".join(filter(None, [skipped, *_notes(entries)])),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        caption_style="",
    )
    for column in table.columns:
        column.justify = "left" if column is table.columns[0] else "right"
        column.no_wrap = True
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == MODEL else None)
    return table


def markdown(title: str, entries: Sequence[Entry]) -> str:
    """The comparison as Markdown: the table, what was skipped, and the settings that were chosen."""
    header, rows = _cells(entries)
    lines = [
        f"# {visible(title)}",
        "",
        _line(header),
        _line(["---"] + ["---:"] * (len(header) - 1)),
        *map(_line, rows),
        "",
    ]
    lines += [*_notes(entries), "", "Hyper-parameters:", ""]
    for entry in entries:
        settings = ", ".join(f"{name} {value}" for name, value in entry.parameters.items()) or "none"
        tried = f" (the best of {len(entry.search)} settings on validation)" if len(entry.search) > 1 else ""
        lines.append(f"- {entry.name}: " + (f"skipped, {entry.skipped}" if entry.skipped else settings + tried))
    return "\n".join(lines) + "\n"


def write_comparison(folder: Path, title: str, head: dict[str, Any], entries: Sequence[Entry]) -> None:
    """Writes ``comparison.json`` and ``comparison.md`` into a folder, each whole or not at all.

    Args:
        folder: made if it is not there.
        title: title of the Markdown.
        head: what the JSON begins with.
        entries: the models.
    """
    models = {entry.name: {key: value for key, value in asdict(entry).items() if key != "name"} for entry in entries}
    write_results(folder / "comparison.json", {**head, "models": models})
    with replacing(folder / "comparison.md") as partial:
        partial.write_text(markdown(title, entries), encoding="utf-8")


def _cells(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, as text."""
    has_tests = any(entry.test for entry in entries)
    header = [*_COLUMNS, *(_TEST_COLUMNS if has_tests else ())]
    ranked = sorted(entries, key=lambda entry: entry.metrics.get(TARGET, -1.0), reverse=True)
    rows = [_row(entry) for entry in ranked]
    return header, [[*row, *[""] * len(header)][: len(header)] for row in rows]


def _row(entry: Entry) -> list[str]:
    if entry.skipped:
        return [entry.name, "skipped"]
    row = [entry.name, f"{entry.auroc:.3f}"]
    for name in WITH_INTERVAL:
        low, high = entry.intervals[name]
        row.append(f"{entry.metrics[name]:.3f} [{_short(low)}-{_short(high)}]")
    row += [f"{entry.metrics['coverage@20']:.3f}", "" if entry.fit_s is None else f"{entry.fit_s:.1f}"]
    if entry.test:
        row.append(_short(entry.test.difference, "+.3f"))
        row += [_short(p) if p >= 0.001 else "<.001" for p in (entry.test.p, entry.test.p_holm)]
    return row


def _short(value: float, form: str = ".3f") -> str:
    """Three decimals, without the zero before the point."""
    return f"{value:{form}}".replace("0.", ".", 1)


def _notes(entries: Sequence[Entry]) -> list[str]:
    return [NOTE, TEST_NOTE] if any(entry.test for entry in entries) else [NOTE]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
