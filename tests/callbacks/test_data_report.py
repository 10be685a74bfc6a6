from lightning_lp.callbacks.data_report import data_summary
from lightning_lp.callbacks.results import describe
from lightning_lp.data.datamodule import MovieLensDataModule


def test_every_row_is_kept_or_left_out_for_a_reason(tmp_path):
    movies = [f"{movie},Title {movie},Drama" for movie in range(20)]
    ratings = [f"{user},{movie},{1 + (user + movie) % 5},1" for user in range(20) for movie in range(0, 20, 2)]
    odd = [",1,3,1", "1,,3,1", "1,2,,1", "1,99,3,1", ratings[0], ratings[0]]
    (tmp_path / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies, movies[3], ",,"]))
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *ratings, *odd]))
    data = MovieLensDataModule(root=str(tmp_path), min_rating=2)
    data.setup()
    dataset = describe(data)["dataset"]
    assert dataset["rows_read"] == 206 == dataset["links"] + sum(dataset["dropped"].values())
    reasons = {"blank_id": 2, "blank_rating": 1, "unknown_movie": 1, "repeated_pair": 2, "below_min_rating": 40}
    assert dataset["dropped"] == reasons
    assert dataset["movie_rows_read"] == 22 == dataset["movies"] + sum(dataset["movies_dropped"].values())
    assert dataset["movies_dropped"] == {"blank_id": 1, "repeated_movie": 1}
    assert data_summary(data).splitlines()[1:] == [
        "206 rating rows read: 160 kept, 46 left out (2 blank_id, 1 blank_rating, 1 unknown_movie, 2 repeated_pair, "
        "40 below_min_rating)",
        "22 movie rows read: 20 kept, 2 left out (1 blank_id, 1 repeated_movie)",
    ]


def test_notes_come_after_the_counts_and_no_file_has_no_rows(tmp_path):
    ratings = [f"{user},{movie},like,1" for user in range(20) for movie in range(20) if (user + movie) % 4 == 0]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *ratings]))
    data = MovieLensDataModule(root=str(tmp_path), movies_file=None)
    data.setup()
    lines = data_summary(data).splitlines()
    assert lines[1] == "100 rating rows read: 100 kept, 0 left out"
    assert [line[:12] for line in lines[2:]] == ["note: movies", "note: column"]
