import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_lp.data.files.delimited import read_delimited
from lightning_lp.data.files.raw_table import RawTable
from lightning_lp.data.files.records import Dialect
from lightning_lp.errors import UserError

MOVIES = {"movie": "movieId", "title": "title"}
RATINGS = {"user": "userId", "movie": "movieId", "rating": "rating"}


def read(path: Path, content: str | bytes, names: dict[str, str] = MOVIES, **options) -> RawTable:
    path = path / "movies.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_delimited(path, names, required=frozenset({"movie"}), **options)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_marks(tmp_path, end, mark, last):
    lines = ["index, movieId ,title", "", '0,1,"A, ""b"" \u00e9"', "1,2,C"]
    table = read(tmp_path, mark + end.join(lines) + end * 2 * last)
    assert table.texts("movie").tolist() == ["1", "2"]
    assert table.texts("title").tolist() == ['A, "b" \u00e9', "C"]


def test_line_counts_every_line_of_the_file(tmp_path):
    table = read(tmp_path, '\nmovieId,title\n\n1,"two\nlines"\n2,b\n\n3,c\n')
    assert table.texts("title").tolist() == ["two\nlines", "b", "c"]
    assert [table.line(row) for row in range(3)] == [4, 6, 8]
    assert table.place(2, "movie").endswith("movies.csv line 8, column movieId")


def test_types_fall_back_to_text_column_by_column(tmp_path):
    names = RATINGS | {"time": "timestamp"}
    table = read(tmp_path, "userId,movieId,rating,timestamp\n1,3.0,,9007199254740993\n2, 3 ,2.5,\n", names)
    assert table.numbers("rating")[1].tolist() == [True, False]
    values, missing = table.numbers("time")
    assert (values.tolist(), values.dtype, missing.tolist()) == ([2**53 + 1, 0], "int64", [False, True])
    table = read(tmp_path, "userId,movieId,rating,timestamp\n1,3.0,x,2001-01-01\n1,1,1,1\n", names)
    assert [column for column in names if table.is_text(column)] == ["rating", "time"]
    assert table.texts("rating").tolist() == ["x", "1"]


@pytest.mark.parametrize("typed", [True, False])
def test_distinct_texts_are_stripped_and_marks_missing(tmp_path, typed):
    table = read(tmp_path, "movieId,title\n007,\n \\N,\n 007 ,\nNA,\n,\n7,\n#N/A,\n", typed=typed)
    texts, codes = table.distinct("movie")
    assert texts.to_pylist() == ["007", "NA", "7"]
    assert codes.tolist() == [0, -1, 0, 1, -1, 2, -1]
    assert codes.dtype == "int8"


@pytest.mark.slow
def test_distinct_texts_of_many_chunks(tmp_path):
    cells = [f"{number * 7919 % 300}" for number in range(200_000)]
    table = read(tmp_path, "movieId,title\n" + "".join(f"{cell},{'x' * 20}\n" for cell in cells))
    texts, codes = table.distinct("movie")
    assert [texts.to_pylist()[code] for code in codes.tolist()] == cells


def test_hexadecimal_is_text(tmp_path):
    table = read(tmp_path, "movieId,time\n0x10,0x10\n", {"movie": "movieId", "time": "time"})
    assert table.texts("movie").tolist() == ["0x10"]
    assert table.is_text("time")


def test_typed_column_gives_its_text_as_written(tmp_path):
    table = read(tmp_path, "movieId,title,rating\n007, a,04.50\n", MOVIES | {"rating": "rating"})
    assert table.numbers("rating")[0].tolist() == [4.5]
    assert table.texts("rating").tolist() == ["04.50"]
    assert table.text(0, "movie") == "007"
    assert table.text(0, "title") == " a"


def test_backslashes_escape_quotes_where_the_standard_does_not_read(tmp_path):
    rows = [
        r'1,"The \"Best\" of, \\ it"',
        r'2,"C:\dir \N"',
        '3,5" disc',
        r'4,""',
        r'5,"two' + "\n" + r'\"lines\""',
        r"6,\N",
    ]
    table = read(tmp_path, "movieId,title\n" + "\n".join(rows) + "\n")
    wanted = ['The "Best" of, \\ it', r"C:\dir \N", '5" disc', "", 'two\n"lines"', r"\N"]
    assert table.texts("title").tolist() == wanted
    assert [table.line(row) for row in range(6)] == [2, 3, 4, 5, 6, 8]


def test_backslashes_are_texts_where_the_standard_reads(tmp_path):
    table = read(tmp_path, 'movieId,title\n1,"C:\\"\n2,"a ""b\\"" c"\n')
    assert table.texts("title").tolist() == ["C:\\", 'a "b\\" c']


def test_backslashes_that_read_neither_way_are_named(tmp_path):
    with pytest.raises(
        UserError, match=r'line 3: a field that begins .*put a backslash before each in all of the file \(\\"'
    ):
        read(tmp_path, 'movieId,title\n1,"a \\"b\\""\n2,"c "d" e"\n')


def test_other_separators_without_header(tmp_path):
    dialect = Dialect(separator="::", header=("movieId", "title"), encodings=("utf-8", "latin-1"), quoted=False)
    table = read(tmp_path, 'movie\n1::L\u00e9on: "x\n2::b'.replace("movie\n", "").encode("latin-1"), dialect=dialect)
    assert table.texts("title").tolist() == ['L\u00e9on: "x', "b"]
    assert table.line(1) == 2


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", ["movies.csv is empty"]),
        ("\n\n", ["movies.csv is empty"]),
        ("movieId,title\n1,a,b\n2,c\n", ["movies.csv line 2: 2 fields wanted, 3 found", "double quotes"]),
        ("movieId,title\n1,a\n\n2\n", ["movies.csv line 4: 2 fields wanted, 1 found", "missing"]),
        ('movieId,title\n1,"a\n2,b\n', ["line 2", "double quote", "close it"]),
        ('movieId,title\n1,a\n2,"b (x),c\n3,"d"\n', ["line 3", "double quote", "close it"]),
        ('movieId,title\n1,"a" b\n', ["line 2", "double quote"]),
        ("movieId,title\n1,a\r2,\u00e9\n".encode("latin-1"), ["line 3", "0xe9", "UTF-8"]),
        ("movieId,title\n1,a\n".encode("utf-16"), ["line 1", "UTF-8"]),
        (b"movieId,title\n1,a\0\n", ["line 2", "NUL", "again"]),
        ("movie,title\n1,a\n", ["line 1", "no column movieId", "found: movie, title", "--data.columns.movie"]),
        ("movieId,Title\n1,a\n", ["line 1", "no column title", "upper and lower case"]),
        ("movieId,title,movieId\n1,a,2\n", ["line 1", "2 columns are called movieId", "--data.columns.movie"]),
        ("movieId;title\n1;a\n", ["line 1", "separated by ';'"]),
        ("movieId\ttitle\n1\ta\n", ["line 1", "separated by a tab"]),
        ("1::a::Comedy|Drama\n", ["line 1", "separated by '::'"]),
        ("1|a|x\n", ["line 1", "separated by '|'"]),
        ("1,a|b\n2,c\n", ["line 1", "seems to be data", "header"]),
        ("<!DOCTYPE html>\n<html>\n", ["line 1", "web page", "get the file again"]),
        ("x" * 5000, ["line 1", "no column movieId", "xxx..."]),
    ],
)
def test_refused(tmp_path, content, wanted):
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    for part in ["movies.csv", *wanted]:
        assert part in str(error.value)
    assert len(str(error.value)) < 500 + len(str(tmp_path))


def test_quote_left_open_in_a_column_that_is_not_wanted(tmp_path):
    with pytest.raises(UserError, match="line 3: a field that begins with a double quote"):
        read(tmp_path, 'movieId,title,note\n1,a,\n2,b,"open\n3,c,\n')


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.csv not found"):
        read_delimited(tmp_path / "nothing.csv", MOVIES)
    with pytest.raises(UserError, match="is a folder"):
        read_delimited(tmp_path, MOVIES)


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"a\.csv cannot be read \(Permission denied\)"):
        read_delimited(tmp_path / "a.csv", MOVIES)


text = st.text(st.characters(codec="utf-8", exclude_characters="\0\x1f", exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(text, text), min_size=1, max_size=5), quoting=st.sampled_from([0, 1]))
def test_reads_what_csv_writes(tmp_path, rows, quoting):
    path = tmp_path / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=quoting)
        writer.writerows([("movieId", "title"), *rows])
    table = read_delimited(path, MOVIES, typed=False)
    assert list(zip(table.texts("movie"), table.texts("title"), strict=True)) == rows
