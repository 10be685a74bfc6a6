import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.data.sources.synthetic import write_movielens
from tests.journeys import fit, results, run_folders, run_script

HOSTILE = '<script>alert(1)</script> "& | [bold]x[/] (1999)'


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tested run whose movies have a hostile title."""
    folder = tmp_path_factory.mktemp("report")
    write_movielens(folder / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    movies = pd.read_csv(folder / "movies" / "movies.csv")
    movies.assign(title=HOSTILE).to_csv(folder / "movies" / "movies.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(folder / "movies").test_best()
        return run_folders()[0].resolve()


class Page(HTMLParser):
    """The tags' attributes, and the text, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_the_page_stands_alone_and_shows_everything(run_folder):
    assert run_script("report.py", "--run", str(run_folder)) == 0
    page = Page((run_folder / "report.html").read_text())
    pictures = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 4
    assert all(src.startswith("data:image/png;base64,") for src in pictures)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    for wanted in (
        "40 users, 60 movies, 900 links",
        "Split",
        "720",
        "recall@20",
        "hidden_channels: 8",
        "lightning-lp compare",
    ):
        assert wanted in page.text
    assert len(re.findall(r"User \d+: \d+ movies rated", page.text)) == 3
    assert HOSTILE in page.text  # as text: there is no script tag


@pytest.mark.slow
def test_a_split_by_time_is_broken_down_by_age_and_gap(tmp_path, monkeypatch):
    write_movielens(tmp_path / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    monkeypatch.chdir(tmp_path)
    split = ["--data.split.strategy=leave_last_out", "--data.split.history=rolling"]
    fit(tmp_path / "movies", "--model.encoder=sequence", *split)
    assert run_script("compare.py", "--run", "lightning_logs/version_0", "--quick") == 0
    assert run_script("report.py") == 0
    page = Page(Path("lightning_logs/version_0/report.html").read_text())
    shown = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert shown[-2:] == ["Recall by age of the history", "Recall by gap"]
    for wanted in ("label_mrr", "user_auroc", "this run"):
        assert wanted in page.text
    compared = json.loads(Path("lightning_logs/version_0/comparison.json").read_text())["models"]["this run"]
    found = results(Path("lightning_logs/version_0"))["validation"]
    assert compared["metrics"] == pytest.approx({name: found[name] for name in compared["metrics"]}, abs=1e-6)


@pytest.mark.slow
def test_the_comparison_is_shown_once_it_is_made(run_folder):
    assert run_script("compare.py", "--run", str(run_folder), "--quick") == 0
    assert run_script("report.py", "--run", str(run_folder)) == 0
    page = Page((run_folder / "report.html").read_text())
    for name in ("EASE", "iALS", "ItemKNN", "LightGCN", "this run"):
        assert name in page.text
    assert "lightning-lp compare" not in page.text
    events = EventAccumulator(str(run_folder))
    events.Reload()
    assert "val/recall_at_k" in events.Tags()["images"]


def test_tensorboard_has_samples_and_projector(run_folder):
    events = EventAccumulator(str(run_folder))
    events.Reload()
    tags = events.Tags()
    assert "val/recommendations/text_summary" in tags["tensors"]
    text = events.Tensors("val/recommendations/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert len(re.findall(r"\*\*user \d+\*\*", text)) == 3
    metadata = (run_folder / "00000" / "movies" / "metadata.tsv").read_text().splitlines()
    assert metadata[0] == "title\tmain genre"
    assert len(metadata) == 61
    assert len((run_folder / "00000" / "movies" / "tensors.tsv").read_text().splitlines()) == 60


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    assert run_script("report.py", "--run", str(tmp_path)) == 2
    assert "has no results.json" in capsys.readouterr().err
