"""One table in every format that is read."""

import gzip
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from lightning_lp.data.files.formats import read_columns
from lightning_lp.data.schema import Reading
from lightning_lp.data.tables import Tables, read_tables
from lightning_lp.errors import UserError

MOVIES = pa.table({"movieId": [3, 1, 2], "title": ["C", "A", None], "genres": ["War|Drama", "Drama", None]})
RATINGS = pa.table(
    {
        "userId": [7, 7, 5, None],
        "movieId": [2, 1, 1, 1],
        "rating": [4.5, 0.0, None, 1.0],
        "timestamp": [10**9, 10**9 + 1, 10**9 + 2, 10**9 + 3],
    }
)


def write(root: Path, suffix: str, movies: pa.Table = MOVIES, ratings: pa.Table = RATINGS) -> Path:
    for name, table in (("movies", movies), ("ratings", ratings)):
        path = root / f"{name}{suffix}"
        if suffix == ".parquet":
            pq.write_table(table, path)
            continue
        pa_csv.write_csv(table, path)
        if suffix == ".csv.gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
        elif suffix == ".csv.zst":
            path.write_bytes(pa.compress(path.read_bytes(), "zstd", asbytes=True))
    return root


def check_equal(one: Tables, other: Tables) -> None:
    pd.testing.assert_frame_equal(one.movies, other.movies)
    pd.testing.assert_frame_equal(one.ratings, other.ratings)
    assert (one.dropped, one.time_problem, one.notes) == (other.dropped, other.time_problem, other.notes)


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "plain").mkdir()
    return read_tables(write(tmp_path / "plain", ".csv"))


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".parquet"])
def test_every_format_holds_the_same(tmp_path, plain, suffix):
    assert plain.dropped == {"blank_id": 1, "blank_rating": 1}
    check_equal(read_tables(write(tmp_path, suffix)), plain)


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".parquet"])
def test_the_content_counts_not_the_name(tmp_path, plain, suffix):
    write(tmp_path, suffix)
    for name in ("movies", "ratings"):
        (tmp_path / f"{name}{suffix}").rename(tmp_path / f"{name}.csv")
    check_equal(read_tables(tmp_path), plain)


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_text, args=('movieId,title\n1,"a \\"b\\""\n',))
    writer.start()
    table = read_columns(tmp_path / "pipe", {"movie": "movieId", "title": "title"})
    writer.join()
    assert table.texts("title").tolist() == ['a "b"']


def test_members_of_gzip_and_frames_of_zstd_are_read_in_turn(tmp_path):
    for codec in (gzip.compress, lambda part: pa.compress(part, "zstd", asbytes=True)):
        (tmp_path / "a").write_bytes(codec(b"movieId\n1\n") + codec(b"2\n"))
        assert read_columns(tmp_path / "a", {"movie": "movieId"}).texts("movie").tolist() == ["1", "2"]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".parquet"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_file_cut_off_is_one_sentence(tmp_path, suffix, share):
    write(tmp_path, suffix)
    path = tmp_path / f"ratings{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="get the file again") as error:
        read_tables(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".parquet"])
def test_any_damaged_byte_is_one_sentence_or_harmless(tmp_path, suffix):
    write(tmp_path, suffix)
    path = tmp_path / f"ratings{suffix}"
    content = path.read_bytes()
    refused = 0
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            read_tables(tmp_path)
        except UserError:
            refused += 1
    assert refused


@pytest.mark.parametrize("content", [b"PK\x03\x04\0\0", b"BZh9\0", b"\xfd7zXZ\0\0", b"ARROW1\0\0"])
def test_other_formats_are_named(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv is an? .*: unpack it, or save it as \.csv"):
        read_columns(tmp_path / "a.csv", {"movie": "movieId"})


TYPES = {
    "userId": [
        pa.array([7, 7, 5, None], pa.uint8()),
        pa.array([7.0, 7.0, 5.0, float("nan")]),
        pa.array(["7", "7.0", " 5", ""]),
        pa.array(["7", "7", "5", None], pa.large_string()),
        pa.array(["7", "7", "5", "NA"]).dictionary_encode(),
        pa.array([7, 7, 5, None]).dictionary_encode(),
        pa.array([b"7", b"7", b"5", None]),
    ],
    "rating": [
        pa.array([4.5, 0, float("nan"), 1], pa.float32()),
        pa.array([Decimal("4.5"), Decimal(0), None, Decimal(1)]),
        pa.array(["4.5", "0", "NaN", "1"]),
        pa.array([4.5, 0, None, 1]).dictionary_encode(),
    ],
    "timestamp": [
        pa.array([datetime.fromtimestamp(10**9 + second, UTC) for second in range(4)], pa.timestamp("us", "UTC")),
        pa.array([10**18 + second * 10**9 for second in range(4)], pa.timestamp("ns")),
        pa.array([1e9 + second for second in range(4)]),
        pa.array([(10**9 + second) * 1000 for second in range(4)]),
        pa.array([f"2001-09-09T01:46:{40 + second}Z" for second in range(4)]),
    ],
}


@pytest.mark.parametrize(("name", "place"), [(name, place) for name in TYPES for place in range(len(TYPES[name]))])
def test_types_of_parquet_arrive_as_texts_of_csv_do(tmp_path, plain, name, place):
    ratings = RATINGS.set_column(RATINGS.column_names.index(name), name, TYPES[name][place])
    check_equal(read_tables(write(tmp_path, ".parquet", ratings=ratings)), plain)


def test_lists_bools_dates_and_columns_of_nothing(tmp_path):
    genres = pa.array([["War", "Drama"], ["Drama"], None])
    movies = MOVIES.set_column(2, "genres", genres).set_column(1, "title", pa.nulls(3))
    ratings = RATINGS.set_column(2, "rating", pa.array([True, False, None, True]))
    ratings = ratings.set_column(3, "timestamp", pa.array([date(2001, 9, 9)] * 4))
    tables = read_tables(write(tmp_path, ".parquet", movies, ratings))
    assert tables.movies.genres.tolist() == ["Drama", "", "War|Drama"]
    assert tables.movies.title.tolist() == ["1", "2", "3"]
    assert tables.ratings.time.tolist() == [999993600] * 3
    assert "'true' and 'false'" in tables.notes[0]


def test_ids_of_parquet_that_are_texts_stay_as_written(tmp_path):
    ratings = RATINGS.set_column(0, "userId", pa.array(["007", "7", "007", None]))
    assert read_tables(write(tmp_path, ".parquet", ratings=ratings)).ratings.user.tolist() == ["007", "7"]
    large = RATINGS.set_column(0, "userId", pa.array([1e16, 2.0**53 + 2, 1.0, None]))
    assert read_tables(write(tmp_path, ".parquet", ratings=large)).ratings.user.tolist() == [2**53 + 2, 10**16]


def test_errors_of_parquet_name_the_row(tmp_path):
    ratings = RATINGS.set_column(2, "rating", pa.array([1.0, float("inf"), 1.0, 1.0]))
    with pytest.raises(UserError, match=r"ratings\.parquet row 2, column rating: 'inf' found"):
        read_tables(write(tmp_path, ".parquet", ratings=ratings))
    times = RATINGS.set_column(3, "timestamp", pa.array([1, None, 2, 3]))
    problem = read_tables(write(tmp_path, ".parquet", ratings=times)).time_problem
    assert "ratings.parquet row 2, column timestamp: '' found" in problem
    with pytest.raises(UserError, match=r"ratings\.parquet: no column userId .*found: user, movieId"):
        read_tables(
            write(tmp_path, ".parquet", ratings=RATINGS.rename_columns(["user", "movieId", "rating", "timestamp"]))
        )
    movies = pa.table({"movieId": [1, 1, 2], "title": ["A", "B", "C"]})
    with pytest.raises(UserError, match=r"movies\.parquet rows 1 and 2: movieId 1 stands for two .*one of the rows"):
        read_tables(write(tmp_path, ".parquet", movies))


def test_formats_may_differ(tmp_path, plain):
    write(tmp_path, ".parquet")
    write(tmp_path, ".csv.gz")
    (tmp_path / "movies.csv.gz").unlink()
    (tmp_path / "ratings.parquet").unlink()
    check_equal(read_tables(tmp_path), plain)
    check_equal(read_tables(tmp_path, reading=Reading("movies.parquet", "ratings.csv.gz")), plain)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".parquet"])
def test_arrow_leaves_no_threads_that_could_abort_the_process_at_its_end(tmp_path, suffix):
    """One thread reads a CSV file ahead, and holds nothing of Python's; a pool would have eight."""
    chance = np.random.default_rng(0)
    many = pa.table({name: chance.integers(1, 4, 150_000) for name in RATINGS.column_names})
    write(tmp_path, suffix, ratings=many)
    cpus, threads = pa.cpu_count(), len(os.listdir("/proc/self/task"))
    pa.set_cpu_count(8)
    try:
        read_tables(tmp_path)
        assert len(os.listdir("/proc/self/task")) <= threads + 1
    finally:
        pa.set_cpu_count(cpus)
