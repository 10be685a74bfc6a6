from dataclasses import replace

import pytest

from lightning_lp.data.files.layouts import ML_1M, ML_100K, ML_CSV, find_layout, read_layout
from lightning_lp.data.schema import Columns, Reading
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
    assert find_layout(tmp_path) == ML_CSV


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
    assert [ratings.texts(column).tolist() for column in ("user", "movie")] == [["7"], ["1"]]
    assert [ratings.numbers(column)[0].tolist() for column in ("rating", "time")] == [[5.0], [100]]


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


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".parquet"])
def test_usual_names_stand_for_packed_ones_too(tmp_path, suffix):
    write(tmp_path, **OLD, **{f"movies{suffix}": "", f"ratings{suffix}": ""})
    assert find_layout(tmp_path) == replace(ML_CSV, movies=f"movies{suffix}", ratings=f"ratings{suffix}")
    write(tmp_path, **CSV)
    assert find_layout(tmp_path) == ML_CSV


def test_other_names_in_the_folder_or_as_paths(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside.csv"
    inside.mkdir()
    write(inside, **{"Rating.csv": ""})
    outside.write_text("")
    reading = Reading(movies_file=str(outside), ratings_file="Rating.csv")
    assert find_layout(inside, reading) == replace(ML_CSV, movies=str(outside), ratings="Rating.csv")
    monkeypatch.chdir(tmp_path)
    assert find_layout(inside, replace(reading, movies_file="outside.csv")).movies == str(outside)


@pytest.mark.parametrize("files", [{"ratings__csv": ""}, OLD, OLDEST])
def test_ratings_alone(tmp_path, files):
    write(tmp_path, **{name: text for name, text in files.items() if name not in ("movies__dat", "u__item")})
    layout = find_layout(tmp_path, Reading(movies_file=None))
    assert (layout.movies, layout.genres) == (None, None)
    assert (tmp_path / layout.ratings).exists()


def test_a_missing_file_is_told_with_what_there_is_and_the_ways_out(tmp_path):
    write(tmp_path, **{"Movie.CSV": "", "rating.csv.gz": "", "notes.txt": ""})
    with pytest.raises(UserError) as error:
        find_layout(tmp_path)
    assert "--data.movies_file NAME and --data.ratings_file NAME (the folder holds Movie.CSV, rating.csv.gz)" in str(
        error.value
    )
    assert "--data.movies_file null" in str(error.value)
    write(tmp_path, movies__csv="")
    with pytest.raises(UserError) as error:
        find_layout(tmp_path, Reading(ratings_file="ratings.tsv"))
    assert str(error.value).startswith(f"{tmp_path / 'ratings.tsv'} not found")
    assert "--data.ratings_file NAME (the folder holds Movie.CSV, rating.csv.gz)" in str(error.value)
    assert "movies_file" not in str(error.value)
    (tmp_path / "Movie.CSV").unlink()
    (tmp_path / "rating.csv.gz").unlink()
    with pytest.raises(UserError) as error:
        find_layout(tmp_path)
    assert "NAME" not in str(error.value)


def test_columns_that_are_not_to_be_read(tmp_path):
    columns = Columns(rating=None, time=None, title=None, genres=None)
    for files in (
        OLDEST,
        OLD,
        {"movies__csv": "movieId,title,genres\n1,a,b\n", "ratings__csv": "userId,movieId,rating\n1,1,5\n"},
    ):
        write(tmp_path, **files)
        movies, ratings = read_layout(tmp_path, columns)
        assert [c for c in vars(columns) if c in movies or c in ratings] == ["user", "movie"]


def test_the_movie_id_of_the_movies_file_has_its_own_name(tmp_path):
    write(tmp_path, movies__csv="id,title\n1,a\n", ratings__csv="userId,item,id\n1,1,9\n")
    movies, ratings = read_layout(tmp_path, Columns(movie="item", movie_id="id"))
    assert (movies.texts("movie").tolist(), ratings.texts("movie").tolist()) == (["1"], ["1"])
    with pytest.raises(UserError, match=r"movies\.csv line 1: no column movieId .*--data\.columns\.movie_id"):
        read_layout(tmp_path, Columns(movie="movieId", user="item"))
    with pytest.raises(UserError, match=r"ratings\.csv line 1: no column movieId"):
        read_layout(tmp_path, Columns(movie_id="id"))


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere not found: a folder .* --data\.root"):
        find_layout(tmp_path / "nowhere")
    write(tmp_path, **CSV)
    with pytest.raises(UserError, match=r"movies\.csv is a file: a folder"):
        find_layout(tmp_path / "movies.csv")
