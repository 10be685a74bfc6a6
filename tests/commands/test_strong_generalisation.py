import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_lp.commands.hidden_users import write
from lightning_lp.commands.strong_generalisation import Division, divide, judge_baseline, measured
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.settings import SplitSettings
from lightning_lp.data.tables import Tables, read_tables
from lightning_lp.errors import UserError
from lightning_lp.evaluation.baselines import Candidate
from lightning_lp.evaluation.counting import Popularity
from lightning_lp.evaluation.ranking_task import RankingTask
from tests.journeys import QUIET, SMALL, run_script

PARTS = ("validation", "test")


@pytest.fixture(scope="module")
def tables(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """40 users, of whom three have fewer than five ratings of 4 and more, and a movie that none of them has rated."""
    folder = tmp_path_factory.mktemp("strong")
    movies, ratings = (pd.read_csv(root / file) for file in ("movies.csv", "ratings.csv"))
    users = ratings.userId.unique()
    rare = ratings.userId.isin(users[:3]) & (ratings.groupby("userId").cumcount() >= 4)
    unrated = pd.DataFrame([["x-1", "An id that is no number", "Drama"]], columns=movies.columns)
    pd.concat([movies, unrated]).to_csv(folder / "movies.csv", index=False)
    ratings[~rare].to_csv(folder / "ratings.csv", index=False)
    return read_tables(folder)


def links_of(tables: Tables, min_rating: float | None) -> dict[object, set[object]]:
    """The movies of each user with five links or more, by their ids."""
    ratings = tables.ratings if min_rating is None else tables.ratings[tables.ratings.rating >= min_rating]
    movies = {user: set(rated) for user, rated in ratings.groupby("user").movie}
    return {user: rated for user, rated in movies.items() if len(rated) >= 5}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("share", "min_rating"), [(0.1, 4.0), (0.25, 3.0), (0.4, None)])
def test_laws_of_the_division(tables, seed, share, min_rating):
    division, links = divide(tables, share, seed, min_rating), links_of(tables, min_rating)
    hidden = {user for part in division.hidden.values() for user in part.ids.tolist()}
    train, ids = division.tables.ratings, division.tables.movies.movie.to_numpy()
    assert division.num_users == len(links)

    # The others train, with all of their links; the catalogue is their movies.
    others = {user: set(rated) for user, rated in train.groupby("user").movie}
    assert not hidden & others.keys()
    assert others == {user: links[user] for user in others}
    assert len(others) == len(links) - 2 * round(share * len(links))
    assert set(ids) == set.union(*others.values())
    assert len(train) == sum(map(len, others.values()))

    for part in division.hidden.values():
        assert len(part.ids) == len(set(part.ids.tolist())) <= round(share * len(links))
        for user, history, held_out in zip(part.ids.tolist(), part.histories, part.held_out, strict=True):
            known = links[user] & set(ids)
            assert len(history) + len(held_out) == len(known) >= 5
            assert set(ids[history]) | set(ids[held_out]) == known
            assert len(held_out) == int(0.2 * len(known))
    assert not set(division.hidden["validation"].ids.tolist()) & set(division.hidden["test"].ids.tolist())


def test_times_and_ratings_go_with_the_history(tables):
    division = divide(tables, 0.25)
    rows = tables.ratings.set_index(["user", "movie"])
    ids = division.tables.movies.movie.to_numpy()
    for part in division.hidden.values():
        for user, history, times, ratings in zip(
            part.ids.tolist(), part.histories, part.told["times"], part.told["ratings"], strict=True
        ):
            assert (np.diff(times) >= 0).all()
            found = rows.loc[[(user, movie) for movie in ids[history]]]
            assert (found.time.tolist(), found.rating.tolist()) == (times.tolist(), ratings.tolist())


def test_the_choice_follows_the_seed(tables):
    first, again, other = (divide(tables, seed=seed).hidden["test"] for seed in (0, 0, 1))
    assert first.ids.tolist() == again.ids.tolist() != other.ids.tolist()
    assert [movies.tolist() for movies in first.held_out] == [movies.tolist() for movies in again.held_out]


@pytest.mark.parametrize(
    ("share", "min_rating", "message"),
    [
        (0.0, 4.0, "--share 0.0: more than 0 and less than 0.5"),
        (0.5, 4.0, "--share 0.5"),
        (0.49, 4.0, "too few to hide 1 for validation"),
        (0.1, 6.0, "0 users have 5 links or more: too few to hide 1 for validation"),
    ],
)
def test_what_leaves_nobody_is_refused(tables, share, min_rating, message):
    few = replace(tables, coded=tables.coded[tables.coded.user < 5])
    with pytest.raises(UserError, match=message):
        divide(few, share, min_rating=min_rating)


def test_a_least_rating_needs_ratings(tables):
    without = replace(tables, coded=tables.coded.assign(rating=np.nan))
    with pytest.raises(UserError, match=r"--min-rating 4\.0: a file with ratings, or null wanted"):
        divide(without)
    assert divide(without, min_rating=None).num_users == len(links_of(tables, None))


@pytest.mark.parametrize("seed", range(5))
def test_measured_is_what_the_paper_defines(seed):
    rng = np.random.default_rng(seed)
    num_users, num_movies = 12, 150
    scores = rng.integers(0, 40, (num_users, num_movies)).astype(np.float32)  # many are equal
    seen = rng.random((num_users, num_movies)) < 0.1
    held_out = ~seen & (rng.random((num_users, num_movies)) < np.linspace(0.01, 0.8, num_users)[:, None])
    held_out[0, np.flatnonzero(~seen[0])[0]] = True
    expected = {"recall@20": [], "recall@50": [], "ndcg@100": []}
    for user in range(num_users):
        order = sorted(np.flatnonzero(~seen[user]), key=lambda movie: (-scores[user, movie], movie))
        num_held_out = int(held_out[user].sum())
        for k in (20, 50):
            expected[f"recall@{k}"].append(held_out[user, order[:k]].sum() / min(k, num_held_out))
        gains = [1 / np.log2(place + 1) for place in range(1, 101)]
        reached = sum(gain for gain, movie in zip(gains, order, strict=False) if held_out[user, movie])
        expected["ndcg@100"].append(reached / sum(gains[:num_held_out]))
    pairs = [torch.from_numpy(np.stack(each.nonzero())) for each in (seen, held_out)]
    task = RankingTask(torch.arange(num_users), *pairs, self_information=torch.ones(num_movies))
    found = measured(task, lambda users, time: torch.from_numpy(scores)[users])
    assert found == pytest.approx({name: np.mean(values) for name, values in expected.items()}, rel=1e-5)


@pytest.fixture(scope="module")
def trained_on(tables, tmp_path_factory) -> tuple[Division, MovieLensDataModule]:
    division, folder = divide(tables, 0.25), tmp_path_factory.mktemp("rest") / "movies"
    write(division.tables.movies, division.tables.ratings, folder)
    data = MovieLensDataModule(str(folder), split=SplitSettings(num_val=0, num_test=0), text_ids=True)
    data.setup()
    return division, data


def test_what_is_written_has_the_movies_at_the_same_places(trained_on):
    division, data = trained_on
    assert data.graph.movies.ids.tolist() == division.tables.movies.movie.tolist()
    assert data.split.train_links.size(1) == len(division.tables.coded)


@dataclass
class Fixed(Popularity):
    """A list for everybody."""

    scores: tuple[float, ...] = ()

    def fit(self, links, features, seed):
        self.num_raters = torch.tensor(self.scores)


def test_settings_are_chosen_on_validation_alone(trained_on):
    division, data = trained_on
    counts = {  # how often each movie is held out: the best list for everybody of that part
        part: np.bincount(np.concatenate(division.hidden[part].held_out), minlength=data.num_movies) for part in PARTS
    }
    grid = tuple({"scores": tuple(counts[part].astype(float))} for part in ("test", "validation"))
    for_test, for_validation = (judge_baseline(Candidate(Fixed(), (change,)), *trained_on, "test") for change in grid)
    assert for_test["ndcg@100"] > for_validation["ndcg@100"]
    assert judge_baseline(Candidate(Fixed(), grid), *trained_on, "test") == for_validation


@pytest.mark.slow
@pytest.mark.parametrize("part", [[], ["--part", "test"]])
def test_the_command(root, tmp_path, monkeypatch, capsys, part):
    monkeypatch.chdir(tmp_path)
    flags = ["--root", str(root), "--protocol", "strong_generalisation", "--trainer.max_epochs=2", *QUIET, *SMALL]
    assert run_script("new_users.py", *flags, "--share=0.2", "--min-rating=3", *part) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "lightning_logs" / "new_users.json").read_text())
    assert (found["protocol"], found["part"]) == ("strong_generalisation", part[1] if part else "validation")
    assert (found["min_rating"], found["users"], found["hidden"]) == (3.0, 40, 16)
    assert list(found["models"]) == ["lightning_lp", "EASE + features", "EASE", "ItemKNN", "popularity"]
    for metrics in found["models"].values():
        assert list(metrics) == ["recall@20", "recall@50", "ndcg@100"]
        assert all(0 < value <= 1 and f"{value:.4f}" in out for value in metrics.values())
    division = divide(read_tables(root), 0.2, min_rating=3.0)
    assert (found["movies"], found["train_links"]) == (len(division.tables.movies), len(division.tables.coded))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--part=test"], "--part is for --protocol strong_generalisation"),
        (["--min-rating=3"], "--min-rating is for --protocol strong_generalisation"),
        (["--protocol=weak"], "invalid choice: 'weak'"),
        (["--protocol=strong_generalisation", "--part=train"], "invalid choice: 'train'"),
        (["--protocol=strong_generalisation", "--min-rating=high"], "--min-rating high: a number, or null"),
        (["--protocol=strong_generalisation", "--data.split.num_val=0.1"], "--data.split.num_val: leave it out"),
        (["--protocol=strong_generalisation", "--data.min_rating", "3"], "--data.min_rating: leave it out"),
        (["--protocol=strong_generalisation", "--share=0.6"], "--share 0.6"),
    ],
)
def test_mistakes_are_told_in_one_sentence(root, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert run_script("new_users.py", "--root", str(root), *flags) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert not list(tmp_path.iterdir())
