"""What to watch next: recommendations that follow the order, the times and the ratings of a history."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lightning_lp.__main__ import run
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.recommend.export import write_export
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.recommend.topk import TopK
from tests.journeys import fit, run_folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the time-aware encoder and its data."""
    folder = tmp_path_factory.mktemp("now")
    write_movielens(folder / "data", num_users=40, num_movies=60, num_ratings=900, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(folder / "data", "--model.encoder=sequence", "--data.split.strategy=leave_last_out")
        return folder / run_folders()[0]


@pytest.fixture(scope="module")
def recommender(folder: Path) -> Recommender:
    return Recommender.load(folder)


@pytest.fixture
def movies(recommender: Recommender) -> list[int]:
    return recommender.movies.ids[[3, 17, 30, 44]].tolist()


def test_the_last_movie_is_the_latest(recommender, movies):
    assert recommender.edge_attrs == ("time", "rating")
    expected = recommender.recommend_new(movies, k=60)
    assert recommender.recommend_new(movies[::-1], k=60) != expected
    repeated = [movies[3], *movies[:2], movies[2], movies[3]]
    assert recommender.recommend_new(repeated, k=60) == expected, "of a movie that is there twice, the last counts"


def test_times_tell_the_order_and_ratings_count(recommender, movies):
    times, ratings = [10_000, 20_000, 90_000, 95_000], [1.0, 5.0, 5.0, 2.0]
    expected = recommender.recommend_new(movies, k=60, times=times, ratings=ratings)
    shuffled = [2, 0, 3, 1]
    found = recommender.recommend_new(
        [movies[i] for i in shuffled],
        k=60,
        times=[times[i] for i in shuffled],
        ratings=[ratings[i] for i in shuffled],
    )
    assert found == expected
    for other in ({"times": times}, {"ratings": ratings}, {"times": times, "ratings": ratings[::-1]}):
        assert recommender.recommend_new(movies, k=60, **other) != expected
    with pytest.raises(ValueError, match=r"times of \[3\] movies: those of \[4\] wanted"):
        recommender.recommend_new(movies, times=times[:3])


def test_a_new_user_who_did_what_another_did_gets_its_vector(folder, recommender):
    ratings = pd.read_csv(folder.parents[1] / "data" / "ratings.csv").sort_values("timestamp", kind="stable")
    users = [1, 7, 23]
    of = [ratings[ratings.userId == user] for user in users]
    found = recommender.embed_new(
        [recommender.movies.index(rows.movieId.to_numpy()) for rows in of],
        times=[rows.timestamp.to_numpy() for rows in of],
        ratings=[rows.rating.to_numpy() for rows in of],
    )
    expected = recommender.user_embeddings[recommender.users.index(np.array(users))]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def listed(capsys: pytest.CaptureFixture[str], folder: Path, *options: object) -> list[tuple[int, float]]:
    capsys.readouterr()
    run(None, ["recommend", "--run", str(folder), "--k", "60", "--format", "json", *map(str, options)])
    return [(movie["movieId"], movie["score"]) for movie in json.loads(capsys.readouterr().out)]


def pairs(recommended) -> list[tuple[int, float]]:
    return [(movie.movie_id, movie.score) for movie in recommended]


def test_the_columns_of_a_file_are_read(recommender, movies, folder, capsys, tmp_path):
    file, (a, b, c, d) = tmp_path / "mine.csv", movies
    times, ratings = [400, 300, 200, 100], [2.0, 4.0, 5.0, 1.0]
    rows = list(zip(movies, times, ratings, strict=True))

    def read(header: str, cells, *options: object) -> list[tuple[int, float]]:
        file.write_text("\n".join([header, *(",".join(map(str, row)) for row in cells)]) + "\n")
        return listed(capsys, folder, "--liked", file, *options)

    in_order = pairs(recommender.recommend_new([a, b, c, d], k=60))
    assert listed(capsys, folder, "--liked", f"{a},{b},{c},{d}") == in_order
    assert read("movieId", [[movie] for movie in movies]) == in_order
    assert read("movieId,what", [[movie, "x"] for movie in movies]) == in_order
    assert read("movieId,rating", [[movie, "good"] for movie in movies]) == in_order, "words are no ratings"
    assert read("movieId,timestamp", [row[:2] for row in rows]) == pairs(
        recommender.recommend_new([d, c, b, a], k=60, times=times[::-1])
    )
    dates = [[movie, f"1970-01-01 00:0{time // 60}:{time % 60:02}"] for movie, time, _ in rows]
    assert read("movieId,timestamp", dates) == pairs(recommender.recommend_new(movies, k=60, times=times))
    assert read("movieId,timestamp,rating", rows) == pairs(
        recommender.recommend_new(movies, k=60, times=times, ratings=ratings)
    )
    blank = [[a, "2.0"], [b, ""], [c, "5.0"], [d, "1.0"]]
    expected = recommender.recommend_new(movies, k=60, ratings=[2.0, 8 / 3, 5.0, 1.0])
    assert read("movieId,rating", blank) == pairs(expected)
    expected = recommender.recommend_new([b, c], 60, [a, d], times=times[1:3], ratings=ratings[1:3])
    assert read("movieId,timestamp,rating", rows, "--min-rating", 3) == pairs(expected)


def test_a_time_that_cannot_be_read_is_named(movies, folder, capsys, tmp_path):
    (tmp_path / "mine.csv").write_text(f"movieId,timestamp\n{movies[0]},yesterday\n")
    with pytest.raises(SystemExit):
        run(None, ["recommend", "--run", str(folder), "--liked", str(tmp_path / "mine.csv")])
    err = capsys.readouterr().err
    assert "line 2, column timestamp: 'yesterday' found, a number of seconds since 1970 or a date" in err


def test_one_who_names_nothing_gets_what_is_popular(recommender, movies, folder, capsys, tmp_path):
    expected = recommender.recommend_new([], k=60)
    assert len(expected) == 60
    popularity = recommender._encoder.popularity.numpy()
    indices = recommender.movies.index(np.array([movie.movie_id for movie in expected[:5]]))
    assert (popularity[indices] >= np.sort(popularity)[-6:].min()).all()
    (tmp_path / "mine.csv").write_text("movieId\n")
    for nothing in (tmp_path / "mine.csv", "", ","):
        assert listed(capsys, folder, "--liked", nothing) == pairs(expected)
    seen = {movie_id for movie_id, _ in pairs(recommender.recommend_new([], k=60, seen=movies))}
    assert seen == set(recommender.movies.ids.tolist()) - set(movies)


def test_an_export_gives_the_same_lists(recommender, tmp_path):
    write_export(recommender, tmp_path / "out")
    top = TopK(tmp_path / "out")
    for user in recommender.users.ids.tolist():
        assert [tuple(movie) for movie in top.recommend(user, k=12)] == [
            tuple(movie) for movie in recommender.recommend(user, k=12)
        ]


def test_similar_movies_are_those_of_like_vectors_whatever_their_popularity(recommender):
    z = recommender.movie_embeddings[:, :-3].astype(np.float64)  # without bias, popularity and the user's part
    cosine = z[4] @ z.T / np.linalg.norm(z, axis=1) / np.linalg.norm(z[4])
    found = recommender.similar(recommender.movies.ids[4], k=5)
    order = [i for i in np.argsort(-cosine) if i != 4][:5]
    assert [movie.movie_id for movie in found] == recommender.movies.ids[order].tolist()
