"""What files hold steers neither a terminal nor a spreadsheet, a browser or TensorBoard's Markdown."""

import contextlib
import csv
import io
import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown import markdown as rendered
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.__main__ import run
from lightning_lp.commands import comparison_tables
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.escape import cell, cells, markdown, visible
from tests.journeys import QUIET, best_checkpoint, fit, run_folders, run_script

HOSTILE = [
    '=HYPERLINK("http://evil.test","free")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\uff1d1+1",
    "\x1b]0;title\x07\x1b[31mred",
    "\u202egnp.exe\u2066\u200b",
    "a\tb\tc",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "![x](http://evil.test/x.png) [y](javascript:alert(1)) | `z` **b** _i_ \\",
    "[bold red]markup[/] {{ 7*7 }} {% raw %}",
    "\x9b31m\ufeff\u2028!",
]
PLAIN = "Amélie: 千と千尋の神隠し (2001) \u3000 \u0645\u06cc\u200c\u062e\u0648\u0631\u062f"


def is_safe(text: str) -> bool:
    """Whether no character steers or is invisible, line breaks apart."""
    steering = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return not any(unicodedata.category(c) in steering and c not in "\n\u200c" for c in text)


def is_formula(text: str) -> bool:
    return text[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


# Laws


@given(st.text(st.characters()))
def test_visible_text_is_safe_and_stays_as_it_is(text):
    assert is_safe(visible(text).replace("\u200d", ""))
    assert "\n" not in visible(text)
    assert visible(visible(text)) == visible(text)
    visible(text).encode()


def test_ordinary_text_is_left_alone():
    assert visible(PLAIN) == PLAIN == cell(PLAIN)
    assert visible("\x1b[0m\u202e\n", keep="\n") == "\\x1b[0m\\u202e\n"


@given(st.one_of(st.text(st.characters()), st.sampled_from(HOSTILE)))
def test_a_cell_is_no_formula_and_numbers_stay_numbers(text):
    shown = cell(text)
    try:
        float(shown)
    except ValueError:
        assert not is_formula(shown)
    assert shown.removeprefix("'") == visible(text).removeprefix("'")


@pytest.mark.parametrize("number", ["-5", "+1", "-0.5", "-1e-7", ".5", "0042", -5, -0.25, None, True])
def test_numbers_and_gaps_are_no_formulas(number):
    assert cell(number) == number


def test_a_title_that_begins_with_a_dash_has_an_apostrophe_and_nothing_else():
    assert cell("-30- (1959)") == "'-30- (1959)"
    table = pd.DataFrame({"=id": [-1, 2], "=text": ["-x", "-1"], "score": [-0.5, 1.0]})
    assert cells(table).to_csv(index=False) == "'=id,'=text,score\n-1,'-x,-0.5\n2,-1,1.0\n"
    assert list(table) == ["=id", "=text", "score"]


@given(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(HOSTILE)))
def test_markdown_shows_the_text_and_nothing_else(text):
    page = Page(rendered(f"| x |\n| --- |\n| a {markdown(text)} b |", extensions=["tables"]))
    assert page.tags == ["table", "thead", "tr", "th", "tbody", "tr", "td"]
    assert "".join(page.text.split()) == "".join(f"xa{visible(text)}b".split())


class Page(HTMLParser):
    """Tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


# One hostile data set through all that shows it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tested run; ids, titles and genres are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    root = folder / "=data <b>x\x1b[31m"
    write_movielens(root, num_users=40, num_movies=60, num_ratings=900, seed=0)
    movies, ratings = pd.read_csv(root / "movies.csv"), pd.read_csv(root / "ratings.csv")
    texts = pd.Series(HOSTILE * 5)
    movies = movies.assign(movieId=[odd(i) for i in movies.movieId], title=texts, genres=texts.str.replace("|", "/"))
    ratings = ratings.assign(userId=[odd(i) for i in ratings.userId], movieId=[odd(i) for i in ratings.movieId])
    movies.to_csv(root / "movies.csv", index=False)
    ratings.to_csv(root / "ratings.csv", index=False)
    ratings[["userId", "movieId"]][::9].to_csv(folder / "pairs.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(root).test_best()
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def odd(number: int) -> str:
    """A hostile id."""
    return f"{HOSTILE[number % 7]}{number}"


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[str, str]:
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        run(args=list(args))
    return capsys.readouterr()


def test_terminal_json_and_csv_of_recommendations(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    user = odd(1)
    table, _ = printed(capsys, "recommend", "--user", user, "--k", "60")
    assert is_safe(table)
    for wanted in (r"\x1b]0;title\x07\x1b[31mred", r"\u202egnp.exe", r"a\tb\tc", "<script>", "[bold red]markup[/]"):
        assert wanted in table
    as_json = json.loads(printed(capsys, "recommend", "--user", user, "--k", "60", "--format", "json")[0])
    assert {movie["title"] for movie in as_json} <= set(HOSTILE)
    assert all(any(movie["movieId"] == odd(i) for i in range(10_000)) for movie in as_json[:3])
    text, _ = printed(capsys, "recommend", "--user", user, "--k", "60", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert is_safe(text)
    assert not [value for row in rows for value in row.values() if is_formula(value)]
    assert [row["movieId"] for row in rows] == [cell(movie["movieId"]) for movie in as_json]
    assert [row["rank"] for row in rows] == [str(movie["rank"]) for movie in as_json]


def test_files_of_recommendations_and_predictions(folder, capsys):
    printed(capsys, "recommend", "--all-users", "--k", "5", "--out", "all.csv")
    printed(capsys, "recommend", "--all-users", "--k", "5", "--out", "all.parquet")
    predict = ["predict", f"--data.root={next(folder.glob('=*'))}", f"--ckpt_path={best_checkpoint(run_folders()[0])}"]
    printed(capsys, *predict, *QUIET, "--data.predict_file=pairs.csv", "--predictions.path=scores.csv")
    for name in ("all.csv", "scores.csv"):
        text = Path(name).read_text()
        assert is_safe(text)
        rows = list(csv.reader(io.StringIO(text)))
        assert len(rows) > 100
        assert not [value for row in rows for value in row if is_formula(value)]
    exact = pd.read_parquet("all.parquet")
    assert set(exact.title) <= set(HOSTILE)
    assert exact.userId.map(cell).tolist() == pd.read_csv("all.csv", dtype=str).userId.tolist()


def test_errors_and_what_a_run_says_of_itself(folder, capsys):
    root = next(folder.glob("=*"))
    out, _ = printed(capsys, "test", f"--data.root={root}", f"--ckpt_path={best_checkpoint(run_folders()[0])}", *QUIET)
    assert is_safe(out)
    assert r"=data <b>x\x1b[31m: 40 users" in out
    for args in (
        ["recommend", "--like", "script"],
        ["recommend", "--user", "\x1b[2J"],
        ["recommend", "--user", "x", "--format", "\x1b[2J"],
        ["fit", "--data.\x1b[2J=x"],
        ["fit", "--data.root=\x1b[2J"],
        ["fit", "--config=\x1b[2J"],
    ):
        out, error = printed(capsys, *args)
        assert is_safe(out + error)
        assert error
        assert "script" in error or r"\x1b[2J" in error
    assert str(UserError("'\x1b[2J\u202e' found")) == r"'\x1b[2J\u202e' found"


def test_comparison(capsys):
    report = comparison_tables.rich_table("[red]\x1b[2J\u202e", [])
    Console(width=80).print(report)
    out = capsys.readouterr().out
    assert is_safe(out)
    assert r"[red]\x1b[2J\u202e" in out
    assert is_safe(comparison_tables.markdown("\x1b[2J\u202e", []))


def test_report(folder):
    assert run_script("report.py", "--run", str(run_folders()[0])) == 0
    text = (run_folders()[0] / "report.html").read_text()
    page = Page(text)
    assert is_safe(text)
    assert not {"script", "b", "link", "iframe"} & set(page.tags)
    assert page.tags.count("img") == 4
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text


def test_tensorboard(folder):
    events = EventAccumulator(str(run_folders()[0]))
    events.Reload()
    for tag in ("val/recommendations/text_summary", "data/text_summary"):
        text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        page = Page(rendered(text, extensions=["tables"]))
        assert is_safe(text)
        assert set(page.tags) <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    metadata = (run_folders()[0] / "00000" / "movies" / "metadata.tsv").read_text()
    assert is_safe(metadata.replace("\t", " "))
    assert [line.count("\t") for line in metadata.splitlines()] == [1] * 61
