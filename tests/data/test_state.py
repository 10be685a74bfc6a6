"""A checkpoint's data and other data: what differs is named."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.errors import UserError


@pytest.fixture(scope="module")
def movies(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "movies.csv")


@pytest.fixture(scope="module")
def ratings(root: Path) -> pd.DataFrame:
    """Sorted as links are."""
    return pd.read_csv(root / "ratings.csv").sort_values(["userId", "movieId"], ignore_index=True)


@pytest.fixture(scope="module")
def state(root: Path) -> dict[str, Any]:
    data = MovieLensDataModule(root=str(root))
    data.setup()
    return data.state_dict()


@pytest.fixture
def difference(tmp_path: Path, state: dict[str, Any]):
    """What is said of other tables or settings."""

    def compared(movies: pd.DataFrame, ratings: pd.DataFrame, **settings: Any) -> str:
        movies.to_csv(tmp_path / "movies.csv", index=False)
        ratings.to_csv(tmp_path / "ratings.csv", index=False)
        data = MovieLensDataModule(root=str(tmp_path), **settings)
        data.setup()
        with pytest.raises(UserError) as error:
            data.load_state_dict(state)
        _, said, remedy = str(error.value).partition(f"other data than {tmp_path}: ")
        text, _, remedy = (remedy if said else str(error.value)).partition(
            "; name the data that it was trained on with --data.root, with " if said else ": give "
        )
        assert remedy == ("the --data settings of that run (--config RUN/config.yaml), or train again")
        return text

    return compared


def test_the_same_data_in_another_order_is_taken(movies, ratings, state, tmp_path):
    movies[::-1].to_csv(tmp_path / "movies.csv", index=False)
    ratings[::-1].to_csv(tmp_path / "ratings.csv", index=False)
    data = MovieLensDataModule(root=str(tmp_path))
    data.setup()
    data.load_state_dict(state)
    data.load_state_dict({name: value for name, value in state.items() if name != "terms"})  # of an older version


def test_new_and_gone_users(movies, ratings, difference):
    assert difference(movies, pd.concat([ratings, ratings[:6].assign(userId=999)])) == "users: 1 new (999), 0 gone"
    shifted = ratings.assign(userId=ratings.userId + 5)
    assert difference(movies, shifted) == "users: 5 new (41, 42, 43, ...), 5 gone (1, 2, 3, ...)"
    texts = ratings.assign(userId=[f"u{user:02}" for user in ratings.userId])
    assert difference(movies, texts) == "users: 40 new (u01, u02, u03, ...), 40 gone (1, 2, 3, ...)"


def test_new_and_gone_movies(movies, ratings, difference):
    last = movies.movieId.iloc[-1]
    renamed = {"movieId": {last: 5000}}
    assert difference(movies.replace(renamed), ratings.replace(renamed)) == f"movies: 1 new (5000), 1 gone ({last})"
    more = pd.concat([ratings, ratings[:6].assign(userId=999)]).replace(renamed)
    both = f"users: 1 new (999), 0 gone, movies: 1 new (5000), 1 gone ({last})"
    assert difference(movies.replace(renamed), more) == both


def test_new_and_gone_links(movies, ratings, difference):
    gone = [f"({user}, {movie})" for user, movie in zip(ratings.userId[:5], ratings.movieId[:5], strict=True)]
    assert difference(movies, ratings[1:]) == f"links (user, movie): 0 new, 1 gone ({gone[0]})"
    assert difference(movies, ratings[3:]) == f"links (user, movie): 0 new, 3 gone ({', '.join(gone[:3])})"
    assert difference(movies, ratings[5:]) == f"links (user, movie): 0 new, 5 gone ({', '.join(gone[:3])}, ...)"
    user = ratings.userId[0]
    unseen = next(movie for movie in movies.movieId if movie not in set(ratings.movieId[ratings.userId == user]))
    swapped = pd.concat([ratings[1:], ratings[:1].assign(movieId=unseen)])
    assert difference(movies, swapped) == f"links (user, movie): 1 new (({user}, {unseen})), 1 gone ({gone[0]})"
    low = ratings[ratings.rating < 2]
    first = f"({low.userId.iloc[0]}, {low.movieId.iloc[0]})"
    text = difference(movies, ratings, min_rating=2.0)
    assert text.startswith(f"links (user, movie): 0 new, {len(low)} gone ({first}, ")


def test_another_vocabulary_and_other_texts(movies, ratings, difference):
    first = movies.movieId[0]
    changed = movies.assign(genres=["Silent", *movies.genres[1:]])
    assert difference(changed, ratings) == "genres: 1 new (Silent), 0 gone"
    changed = movies.assign(genres=[movies.genres[1], *movies.genres[1:]])
    wanted = f"genres of movies: 1 new ({first} {movies.genres[1]!r}), 1 gone ({first} {movies.genres[0]!r})"
    assert difference(changed, ratings) == wanted
    changed = movies.assign(title=[movies.title[0].upper(), *movies.title[1:]])
    wanted = f"titles: 1 new ({first} {changed.title[0]!r}), 1 gone ({first} {movies.title[0]!r})"
    assert difference(changed, ratings) == wanted
    text = difference(movies.assign(title=["Zyx", "Zyx", *movies.title[2:]]), ratings)
    assert text.startswith("words of titles: 2 new (secret, zyx), 3 gone (")
    assert difference(movies, ratings, title_terms=False).startswith("words of titles: 0 new, ")


def test_titles_that_are_not_read_may_change(movies, ratings, root, tmp_path):
    before = MovieLensDataModule(root=str(root), title_terms=False)
    before.setup()
    movies.assign(title="Zyx").to_csv(tmp_path / "movies.csv", index=False)
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    after = MovieLensDataModule(root=str(tmp_path), title_terms=False)
    after.setup()
    after.load_state_dict(before.state_dict())


def test_another_split(movies, ratings, difference):
    text = difference(movies, ratings, split_seed=1)
    assert text.startswith("the checkpoint was trained on another split of the same data (")
    assert text.endswith("may have been trained on")
