import pytest

from lightning_lp.data.layouts import ML_1M, ML_100K, ML_CSV, find_layout, read_layout
from lightning_lp.data.schema import Columns
from lightning_lp.data.tables import read_tables
from lightning_lp.errors import UserError


def write(root, **files):
    for name, content in files.items():
        (root / name.replace("__", ".")).write_bytes(content.encode("latin-1"))


CSV = {"movies__csv": "movieId,title\n1,a\n", "ratings__csv": "userId,movieId\n1,1\n"}
OLD = {"movies__dat": "1::L\u00e9on: x::Drama\n", "ratings__dat": "7::1::5::100\n"}
OLDEST = {"u__item": "1|L\u00e9on|1-1-1990|||0|1|1\n", "u__data": "7\t1\t5\t100\n", "u__genre": "War|0\nA|1\nB|2\n\n"}


def test_csv_wins(tmp_path):
    write(tmp_path, **CSV, **OLD, **OLDEST)
    assert find_layout(tmp_path) is ML_CSV


@pytest.mark.parametrize(
    ("files", "layout", "title", "genres"),
    [(OLD, ML_1M, "L\u00e9on: x", "Drama"), (OLDEST, ML_100K, "L\u00e9on", "A|B")],
)
def test_older_layouts(tmp_path, files, layout, title, genres):
    write(tmp_path, **files)
    assert find_layout(tmp_path) is layout
    movies, ratings = read_layout(tmp_path, Columns(user="of no use here"))
    assert movies.texts("title").tolist() == [title]
    assert movies.texts("genres").tolist() == [genres]
    assert [ratings.numbers(column)[0].tolist() for column in ("user", "movie", "rating", "time")] == [
        [7], [1], [5.0], [100]
    ]  # fmt: skip


def test_ml_10m_is_utf8(tmp_path):
    write(tmp_path, **OLD)
    (tmp_path / "movies.dat").write_bytes("1::L\u00e9on::Drama\n".encode())
    assert read_layout(tmp_path, Columns())[0].texts("title").tolist() == ["L\u00e9on"]


def test_wrong_number_of_genre_flags(tmp_path):
    write(tmp_path, **OLDEST | {"u__item": "1|a||||0|1|1\n2|b||||0|1\n"})
    with pytest.raises(UserError, match=r"u\.item line 2: 8 fields wanted, 7 found"):
        read_tables(tmp_path)


def test_no_genre_names(tmp_path):
    write(tmp_path, **OLDEST | {"u__genre": ""})
    with pytest.raises(UserError, match=r"u\.genre is empty"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({}, ["movies.csv", "ratings.csv"]),
        ({"movies__csv": ""}, ["ratings.csv"]),
        ({"ratings__csv": ""}, ["movies.csv"]),
        ({"ratings__csv": ""} | OLD, ["movies.csv"]),
        ({"movies__dat": ""}, ["movies.csv", "ratings.csv"]),
    ],
)
def test_missing_files(tmp_path, files, missing):
    write(tmp_path, **files)
    with pytest.raises(UserError) as error:
        find_layout(tmp_path)
    assert str(error.value).startswith(" and ".join(str(tmp_path / name) for name in missing) + " not found")


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere not found: a folder .* --data\.root"):
        find_layout(tmp_path / "nowhere")
    write(tmp_path, **CSV)
    with pytest.raises(UserError, match=r"movies\.csv is a file: a folder"):
        find_layout(tmp_path / "movies.csv")
