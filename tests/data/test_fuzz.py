"""Thousands of damaged input files: refused in one sentence, or read with every row accounted for."""

import csv
import io
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_lp.callbacks.results import describe
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.files.cells import MARKS, MISSING, NUMBER, WHOLE, WORDS
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.data.tables import Tables, read_tables
from lightning_lp.errors import UserError

pytestmark = pytest.mark.slow

Row = dict[str, str]
fuzz = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def naive_rows(content: bytes) -> list[Row]:
    """The file's rows as Python's own csv reads them, blank lines left out; with backslashes as escapes if need be."""
    text = content.decode("utf-8-sig")
    try:
        header, *rows = (row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row)
    except csv.Error:
        header, *rows = (row for row in csv.reader(io.StringIO(unescaped(text), newline=""), strict=True) if row)
    assert all(len(row) == len(header) for row in rows), "a row of another width was read"
    return [dict(zip((name.strip() for name in header), row, strict=True)) for row in rows]


def unescaped(text: str) -> str:
    """Within quotes, a doubled quote for one after a backslash, and one backslash for two."""
    out, at, quoted, begins = "", 0, False, True
    while at < len(text):
        pair, c = text[at : at + 2], text[at]
        if quoted and pair in (r"\"", "\\\\", '""'):
            out, at = out + {r"\"": '""', "\\\\": "\\"}.get(pair, pair), at + 2
            continue
        if c == '"' and (quoted or begins):
            quoted = not quoted
        out, at, begins = out + c, at + 1, c in ",\r\n"
    return out


def naive_ids(*columns: list[str]) -> list[list[str | None]]:
    """Ids as texts: as written, unless all are whole numbers of 64 bits, of which ``3`` and ``3.0`` are one."""
    stripped = [[None if (text := cell.strip()) in MARKS else text for cell in column] for column in columns]
    present = {text for column in stripped for text in column if text is not None and text not in WORDS}
    if not all(NUMBER.fullmatch(text) for text in present):
        return stripped
    numbers = [[None if text in WORDS else text for text in column] for column in stripped]
    if all(WHOLE.fullmatch(text) and -(2**63) <= float(text) < 2**63 for text in present):
        return [[text if text is None else str(int(text.removesuffix(".0"))) for text in column] for column in numbers]
    return numbers


def naive_ratings(cells: list[str]) -> list[str] | None:
    """The ratings, stripped; None for a column of words, which is not needed."""
    stripped = [cell.strip() for cell in cells]
    has_words = any(text not in MISSING and not NUMBER.fullmatch(text) for text in stripped)
    return None if has_words and not any(NUMBER.fullmatch(text) for text in stripped) else stripped


def check_against_naive(root: Path, tables: Tables) -> None:
    """Every row of both files is kept or counted under the first reason that applies to it."""
    movies, ratings = (naive_rows((root / name).read_bytes()) for name in ("movies.csv", "ratings.csv"))
    known, rated = naive_ids([row["movieId"] for row in movies], [row["movieId"] for row in ratings])
    (users,) = naive_ids([row["userId"] for row in ratings])
    values = naive_ratings([row["rating"] for row in ratings]) if "rating" in ratings[0] else None
    reasons, kept = Counter[str](), Counter[tuple[str, str]]()
    for user, movie, value in zip(users, rated, values or [None] * len(ratings), strict=True):
        if user is None or movie is None:
            reasons["blank_id"] += 1
        elif value in MISSING:
            reasons["blank_rating"] += 1
        elif movie not in known:
            reasons["unknown_movie"] += 1
        else:
            kept[user, movie] += 1
    reasons["repeated_pair"] = kept.total() - len(kept)
    assert tables.rows_read == len(ratings) == len(tables.ratings) + sum(tables.dropped.values())
    assert tables.dropped == dict(+reasons)
    assert set(zip(map(str, tables.ratings.user), map(str, tables.ratings.movie), strict=True)) == set(kept)
    assert len(movies) == tables.movie_rows_read == len(tables.movies) + sum(tables.movies_dropped.values())
    assert set(map(str, tables.movies.movie)) == {movie for movie in known if movie is not None}
    if values is not None:
        given = Counter(float(value) for value in values if value not in MISSING)
        assert not Counter(tables.ratings.rating.tolist()) - given, "a rating that no row has"


def refused_in_one_sentence(error: UserError) -> None:
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) < 1300


TOKENS = [
    *(b'"', b",", b"\n", b"\r", b"\r\n", b"\0", b";", b"\t", b"|", b"::", b" ", b"\xef\xbb\xbf", b"\xff", b"\xc3\xa9"),
    *("\u2028\u0663\u00a0\x1c\x1f\x85\u200b".encode(), "\u0663".encode(), "\u2028".encode(), b"\x1f"),
    *(b"1e400", b"-1", b"NaN", b"inf", b"0x10", b"9" * 25, b"1_000", b"1.0", b"01", b"+1", b"1e2", b"1.5", b"-0"),
    *(
        b"True",
        b"NA",
        b"null",
        b"\\N",
        b'\\"',
        b"''",
        b'""',
        b'"a,b"',
        b'"a\nb"',
        b"2001-01-01",
        b"18446744073709551615",
        b"#",
        b"\\",
        b"x" * 3000,
    ),
]


def damage(content: bytes, chance: random.Random) -> bytes:
    """One accident or a few: to bytes, cells, lines, columns or the whole encoding."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        lines = content.splitlines(keepends=True) or [b""]
        at, line = chance.randrange(len(content) + 1), chance.randrange(len(lines))
        cells = lines[line].split(b",")
        cell = chance.randrange(len(cells))
        changed = {
            "insert": content[:at] + chance.choice(TOKENS) + content[at:],
            "delete": content[:at] + content[at + chance.randint(1, 9) :],
            "cut": content[: max(at, 40)],
            "flip": content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :],
            "cell": b"".join(
                [
                    *lines[:line],
                    b",".join([*cells[:cell], chance.choice(TOKENS), *cells[cell + 1 :]]),
                    *lines[line + 1 :],
                ]
            ),
            "repeat": b"".join([*lines, lines[line]]),
            "remove": b"".join([*lines[:line], *lines[line + 1 :]]),
            "swap": b"".join([lines[0], *chance.sample(lines[1:], len(lines) - 1)]),
            "blank": b"".join(
                [*lines[:line], chance.choice([b"\n", b" \n", b",,\n", b",,,\n", b'""\n']), *lines[line:]]
            ),
            "ends": content.replace(b"\n", chance.choice([b"\r\n", b"\r", b"\r\r\n", b"\n\n"])),
            "quote": b"\n".join(b",".join(b'"%s"' % c for c in row.split(b",")) for row in content.split(b"\n")),
        }
        content = changed[chance.choice(list(changed))]
    return content


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "movies"
    write_movielens(folder, num_users=20, num_movies=25, num_ratings=300, seed=0)
    return folder


seeds = st.integers(0, 2**40)


@settings(fuzz, max_examples=1300)
@given(seed=seeds, which=st.sampled_from(["movies.csv", "ratings.csv"]))
def test_damaged_files(clean, tmp_path, seed: int, which: str):
    chance = random.Random(seed)
    for name in ("movies.csv", "ratings.csv"):
        content = (clean / name).read_bytes()
        (tmp_path / name).write_bytes(damage(content, chance) if name == which else content)
    try:
        tables = read_tables(tmp_path)
    except UserError as error:
        refused_in_one_sentence(error)
    else:
        check_against_naive(tmp_path, tables)


ids = st.sampled_from(["1", "2", "3", "3.0", "1e0", "", " ", "NA", " 2 ", "02", "\\N"])
cell = ids | st.sampled_from(["x", "-7", "9" * 22, "1.5"]) | st.text(max_size=3)
rows = st.lists(st.tuples(cell, ids, st.sampled_from(["1", "2.5", "", "NA", "0", "1e-3", "-1"]), cell), max_size=9)
first = [("1", "A", ""), ("2", "B", "War|Drama"), ("3", "C", "War"), ("3.0", "C", " War")]


@settings(fuzz, max_examples=500)
@given(movies=st.lists(st.tuples(cell, cell, cell), max_size=2), ratings=rows, quoting=st.sampled_from([0, 1]))
def test_made_up_tables(tmp_path, movies, ratings, quoting):
    for name, header, lines in (
        ("movies.csv", ("movieId", "title", "genres"), first + movies),
        ("ratings.csv", ("userId", "movieId", "rating", "timestamp"), ratings),
    ):
        with (tmp_path / name).open("w", newline="", encoding="utf-8", errors="replace") as file:
            csv.writer(file, quoting=quoting).writerows([header, *lines])
    try:
        tables = read_tables(tmp_path)
    except UserError as error:
        refused_in_one_sentence(error)
    else:
        check_against_naive(tmp_path, tables)


CHOICES = {
    "split": ["random", "temporal", "leave_last_out"],
    "num_val": [0.1, 0.3, 0.001, 0.9, -0.1, 1.2],
    "num_test": [0.1, 0.3, 0.001, 0.9, -0.1, 1.2],
    "min_rating": [None, 3.0, 4.5, -1.0, 6.0],
    "disjoint_train_ratio": [0.0, 0.3, 0.999, 1e-9, 1.0],
    "neg_sampling_ratio": [2.0, 0.5, 1e-9, 17.3, 0.0, 1e9],
    "eval_neg_sampling_ratio": [2.0, 0.5, 1e-9, 17.3, 0.0],
    "num_neighbors": [[20, 10], [1], [-1, 3, 1], [10**9, 2], [], [0], [-2], [10**20]],
    "batch_size": [7, 1, 10**6, 2**31 - 1, 0, 10**20],
    "split_seed": [1, 2**31, 2**64, 2**70, -1],
    "seed": [1, 2**31, 2**63 - 1, 2**70, -1],
    "user_column": ["userId", "movieId", "rating", "nothing", " "],
    "rating_column": [None, "timestamp"],
    "time_column": [None, "nothing"],
    "title_column": [None, "genres"],
    "genres_column": [None, "movieId"],
    "genres_separator": [",", " ", ""],
    "movies_file": [None, "ratings.csv", "nothing.csv", ""],
    "movie_id_column": ["movieId", "title", "nothing"],
    "unknown_movies": ["refuse", "drop", "keep", "ask"],
    "text_ids": [True, False],
    "exclude_seed_links": [True, False],
    "exact_negatives": [True, False],
}
SETTINGS = st.lists(st.sampled_from(list(CHOICES)), unique=True, max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(CHOICES[name]) for name in names})
)


@settings(fuzz, max_examples=300)
@given(seed=seeds, damaged=st.booleans(), settings=SETTINGS)
def test_settings_on_damaged_files(clean, tmp_path, seed, damaged, settings):
    movies, ratings = ((clean / name).read_bytes() for name in ("movies.csv", "ratings.csv"))
    (tmp_path / "movies.csv").write_bytes(movies)
    (tmp_path / "ratings.csv").write_bytes(damage(ratings, random.Random(seed)) if damaged else ratings)
    try:
        data = MovieLensDataModule(root=str(tmp_path), **settings)
        data.setup()
    except UserError as error:
        refused_in_one_sentence(error)
        return
    found = describe(data)
    dataset, split = found["dataset"], found["split"]
    assert dataset["rows_read"] == dataset["links"] + sum(dataset["dropped"].values())
    assert dataset["links"] == split["train_links"] + split["val_links"] + split["test_links"]
    batch = next(iter(data.train_dataloader()))
    assert set(batch["user", "rates", "movie"].edge_label.tolist()) <= {0.0, 1.0}
    assert all(batch[kind].num_nodes > 0 for kind in ("user", "movie"))
