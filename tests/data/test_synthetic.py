"""The laws of the synthetic data, its shape, and that there is something in it to learn."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lightning_lp.data.sources import synthetic
from lightning_lp.data.sources.synthetic import GENRES, NO_GENRES, write_movielens, write_sample
from lightning_lp.errors import UserError

K = 20


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_csv(root / "movies.csv"), pd.read_csv(root / "ratings.csv")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("cache"))


# Laws


@pytest.mark.parametrize(
    ("users", "movies", "ratings"),
    [
        (600, 2_500, 50_000),
        (300, 20_000, 9_000),  # candidates are drawn, across two chunks
        (1, 1, 1),
        (5, 4, 20),  # all there are
        (7, 300, 2_099),  # all but one
        (50, 30, 10),  # fewer ratings than users
        (257, 40, 5_200),  # one user in the last chunk
    ],
)
def test_laws(tmp_path: Path, users: int, movies: int, ratings: int):
    root = tmp_path / "world"
    write_movielens(root, users, movies, ratings, seed=3)
    movie_table, rating_table = read(root)
    assert list(movie_table) == ["movieId", "title", "genres"]
    assert list(rating_table) == ["userId", "movieId", "rating", "timestamp"]
    assert len(movie_table) == movie_table.movieId.nunique() == movies
    assert len(rating_table) == ratings
    assert not rating_table.duplicated(["userId", "movieId"]).any()
    assert rating_table.movieId.isin(movie_table.movieId).all()
    assert rating_table.userId.between(1, users).all()
    assert rating_table.rating.isin(np.arange(1, 11) / 2).all()
    assert rating_table.timestamp.between(820_454_400, 1_735_689_600).all()
    pd.testing.assert_frame_equal(rating_table, rating_table.sort_values(["userId", "movieId"]))
    counts = rating_table.userId.value_counts().reindex(range(1, users + 1), fill_value=0)
    assert counts.min() >= min(20, ratings // users, movies)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_movielens(tmp_path / name, 300, 400, 7_000, seed=seed)
    for file in ("movies.csv", "ratings.csv"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b
        assert a != c


def test_titles_and_genres_look_like_movielens(sample: Path):
    text = (sample / "movies.csv").read_text()
    assert '"' in text
    movies, _ = read(sample)
    assert movies.title.str.fullmatch(r".+ \((19|20)\d\d\)").all()
    assert movies.title.str.contains(", The ").mean() > 0.1
    assert set("|".join(movies.genres).split("|")) == {*GENRES, NO_GENRES}
    assert 0 < (movies.genres == NO_GENRES).sum() < 30
    assert (movies.movieId.diff().dropna() > 1).any()


def test_ratings_are_written_as_movielens_does(sample: Path):
    first, *lines = (sample / "ratings.csv").read_text().splitlines()[:100]
    assert first == "userId,movieId,rating,timestamp"
    assert all(line.split(",")[2] in {f"{half / 2:.1f}" for half in range(1, 11)} for line in lines)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((0, 5, 5), "0 users"),
        ((5, -1, 5), "-1 movies"),
        ((5, 5, 0), "0 ratings"),
        ((5, 5, 26), "25 times at most"),
        ((5, 5, 5, -1), "seed is -1"),
    ],
)
def test_bad_sizes(tmp_path: Path, sizes: tuple[int, ...], words: str):
    with pytest.raises(UserError, match=words):
        write_movielens(tmp_path / "world", *sizes)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_never_replaced(tmp_path: Path):
    (tmp_path / "mine.csv").write_text("mine")
    for root in (tmp_path, tmp_path / "mine.csv"):
        with pytest.raises(UserError, match="not an empty folder"):
            write_movielens(root, 5, 5, 5)
    with pytest.raises(UserError, match="cannot write"):
        write_movielens(tmp_path / "mine.csv" / "world", 5, 5, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    (tmp_path / "empty").mkdir()
    write_movielens(tmp_path / "empty", 5, 5, 5)


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "_draw_times", fail)
    with pytest.raises(KeyboardInterrupt):
        write_movielens(tmp_path / "world", 5, 5, 5)
    assert list(tmp_path.iterdir()) == []


def test_sample_is_taken_from_the_cache(sample: Path, monkeypatch: pytest.MonkeyPatch):
    assert sample.name == "synthetic-sample-v1"
    monkeypatch.setattr(synthetic, "write_movielens", None)
    assert write_sample(sample.parent) == sample


def test_sample_asked_for_by_several_at_once(tmp_path: Path, sample: Path):
    with ThreadPoolExecutor(3) as pool:
        (root,) = set(pool.map(write_sample, [tmp_path] * 3))
    for file in ("movies.csv", "ratings.csv"):
        assert (root / file).read_bytes() == (sample / file).read_bytes()


def test_sample_in_a_cache_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="LIGHTNING_LP_CACHE"):
        write_sample(tmp_path / "file")


# Shape


def gini(counts: np.ndarray) -> float:
    ranks = np.arange(1, len(counts) + 1)
    return 2 * (ranks * np.sort(counts)).sum() / (len(counts) * counts.sum()) - (len(counts) + 1) / len(counts)


def test_popularity_and_activity_are_long_tailed(made_up: Path):
    """ml-latest-small: Gini 0.72 and 0.60, top 1 % 0.16, 1 to 3 ratings 57 %, median user 70, most active 2,698."""
    movies, ratings = read(made_up)
    popularity = ratings.movieId.value_counts().reindex(movies.movieId, fill_value=0).to_numpy()
    activity = ratings.userId.value_counts().to_numpy()
    assert 0.6 < gini(popularity) < 0.8
    assert 0.08 < np.sort(popularity)[-97:].sum() / popularity.sum() < 0.25
    assert 0.2 < ((popularity >= 1) & (popularity <= 3)).mean() < 0.6
    assert 0 < (popularity == 0).mean() < 0.3
    assert popularity.max() < 0.7 * 610
    assert 0.45 < gini(activity) < 0.7
    assert 50 < np.median(activity) < 110
    assert 1_000 < activity.max() < 5_000


# Something to learn


@pytest.fixture(scope="module")
def held_out(sample: Path) -> tuple[sparse.csr_array, sparse.csr_array, pd.DataFrame]:
    """The sample's links without a random tenth, that tenth, and the movies."""
    movies, ratings = read(sample)
    row, column = ratings.userId.to_numpy() - 1, pd.Index(movies.movieId).get_indexer(ratings.movieId)
    held = np.random.default_rng(0).random(len(ratings)) < 0.1
    train, test = (
        sparse.csr_array((np.ones(part.sum()), (row[part], column[part])), shape=(600, len(movies)))
        for part in (~held, held)
    )
    return train, test, movies


def recall(scores: np.ndarray, train: sparse.csr_array, test: sparse.csr_array) -> float:
    unseen = np.where(train.toarray() > 0, -np.inf, scores)
    top = np.argpartition(-unseen, K, axis=1)[:, :K]
    relevant = test.toarray()
    found, there = np.take_along_axis(relevant, top, axis=1).sum(axis=1), relevant.sum(axis=1)
    return float((found[there > 0] / there[there > 0]).mean())


def test_item_neighbours_beat_popularity(held_out):
    train, test, _ = held_out
    popularity = train.sum(axis=0)
    columns = train.toarray() / np.sqrt(np.maximum(popularity, 1))
    similarity = columns.T @ columns
    np.fill_diagonal(similarity, 0)
    similarity[similarity < -np.partition(-similarity, 50, axis=0)[50]] = 0  # 50 neighbours of each movie
    by_popularity = recall(np.tile(popularity, (600, 1)), train, test)
    by_neighbours = recall(train @ similarity, train, test)
    print(f"Recall@20: popularity {by_popularity:.3f}, item neighbours {by_neighbours:.3f}")
    assert by_popularity > 0.08
    assert by_neighbours > 1.4 * by_popularity


def test_held_out_movies_share_the_genres_of_the_history(held_out):
    """More than movies of the nearest popularity, so it is taste, not popular movies' genres."""
    train, test, movies = held_out
    genres = movies.genres.str.get_dummies("|").to_numpy(dtype=float)
    genres = genres / np.linalg.norm(genres, axis=1, keepdims=True)
    history = train @ genres
    history /= np.linalg.norm(history, axis=1, keepdims=True)
    by_popularity = np.argsort(train.sum(axis=0), kind="stable")
    user, movie = test.nonzero()
    rank = np.argsort(by_popularity)[movie]
    shift = np.random.default_rng(0).choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], len(rank))
    other = by_popularity[np.clip(rank + shift, 0, len(by_popularity) - 1)]
    held, random = ((history[user] * genres[column]).sum(axis=1).mean() for column in (movie, other))
    print(f"cosine with the history's genres: held-out {held:.3f}, random of equal popularity {random:.3f}")
    assert held > random + 0.03


def test_rating_value_follows_taste(held_out, sample: Path):
    """A user's stars are higher for the genres that are commoner in this history than in others'."""
    movies, ratings = read(sample)
    genres = movies.genres.str.get_dummies("|").to_numpy(dtype=float)
    row, column = ratings.userId.to_numpy() - 1, pd.Index(movies.movieId).get_indexer(ratings.movieId)
    share = held_out[0] @ genres
    share = share / share.sum(axis=1, keepdims=True)
    lift = np.log((share + 0.01) / (share.mean(axis=0) + 0.01))
    affinity = (lift[row] * genres[column]).sum(axis=1) / genres[column].sum(axis=1)
    stars = ratings.rating - ratings.groupby("userId").rating.transform("mean")
    correlation = np.corrcoef(affinity, stars)[0, 1]
    print(f"correlation of stars and genre affinity: {correlation:.3f}")
    assert correlation > 0.07
