"""The split ``given``: a folder with a file for each part."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from lightning_lp.callbacks.data_report import data_summary
from lightning_lp.callbacks.results import describe
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.files.parts import find_parts
from lightning_lp.data.schema import RATES, Columns
from lightning_lp.data.settings import SplitSettings
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.data.tables import read_tables
from lightning_lp.errors import UserError

GIVEN = SplitSettings("given")


@pytest.fixture(scope="module")
def tables(root: Path) -> dict[str, pd.DataFrame]:
    """The ratings of 40 users, the last 100 for validation and test."""
    ratings = pd.read_csv(root / "ratings.csv").sort_values("timestamp", ignore_index=True)
    return {"train": ratings[:700], "val": ratings[700:800], "test": ratings[800:]}


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> str:
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return str(folder)


def data_in(folder: Path, tables: dict[str, pd.DataFrame], **settings) -> MovieLensDataModule:
    data = MovieLensDataModule(write(folder, tables), **{"split": GIVEN, **settings})
    data.setup()
    return data


def links_of(data: MovieLensDataModule, part: str) -> set[tuple[int, int]]:
    """The links of a part, by the ids of the files."""
    store = data.part(part)[RATES]
    user, movie = store.edge_label_index[:, store.edge_label > 0].numpy()
    return set(zip(data.graph.users.ids[user].tolist(), data.graph.movies.ids[movie].tolist(), strict=True))


def pairs(table: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(table.userId, table.movieId, strict=True))


def test_parts_are_taken_as_they_are(tables, tmp_path, root):
    (tmp_path / "movies.csv").write_bytes((root / "movies.csv").read_bytes())
    data = data_in(tmp_path, tables)
    assert {part: links_of(data, part) for part in ("val", "test")} == {
        part: pairs(tables[part]) for part in ("val", "test")
    }
    assert data.split.train_links.size(1) == 700
    assert (data.is_by_time, data.num_features > 0) == (True, True)
    whole = MovieLensDataModule(str(root))
    assert (data.num_users, data.num_movies) == (whole.num_users, whole.num_movies)
    assert data.graph.fingerprint == whole.graph.fingerprint, "all that is known is what one file would tell"
    assert torch.equal(data.graph.data[RATES].time, whole.graph.data[RATES].time)


def test_benchmark_files_of_two_columns_will_do(tables, tmp_path):
    bare = {name: table[["userId", "movieId"]] for name, table in tables.items() if name != "val"}
    data = data_in(tmp_path, bare)
    assert list(data.split.held_out) == ["test"]
    assert not data.is_by_time
    assert describe(data)["split"].items() >= {"strategy": "given", "val_tied": None, "test_tied": None}.items()
    assert "note: movies are those that are rated, without titles and genres" in data_summary(data)
    with pytest.raises(UserError, match=r"--data\.split\.num_val 0 has held no links out.*given links of that part"):
        data.part("val")
    with pytest.raises(UserError, match=r"history rolling needs the time of ratings: .*train\.csv has no column"):
        data_in(tmp_path, bare, split=SplitSettings("given", history="rolling"))


def test_own_columns_formats_and_names(tables, tmp_path):
    names = {"userId": "who", "movieId": "what", "timestamp": "when"}
    for name, table in {**tables, "validation": tables["val"]}.items():
        renamed = table.rename(columns=names).drop(columns="rating")
        if name == "train":
            renamed.to_parquet(tmp_path / "train.parquet")
        elif name != "val":
            renamed.to_csv(tmp_path / f"{name}.csv.gz", index=False)
    assert find_parts(tmp_path) == {"train": "train.parquet", "val": "validation.csv.gz", "test": "test.csv.gz"}
    data = MovieLensDataModule(str(tmp_path), split=GIVEN, columns=Columns(user="who", movie="what", time="when"))
    data.setup()
    assert {part: len(links_of(data, part)) for part in ("val", "test")} == {"val": 100, "test": 100}
    assert data.is_by_time


def test_a_pair_of_two_parts_is_dropped_from_the_later_one(tables, tmp_path):
    more = {
        "train": tables["train"],
        "val": pd.concat([tables["val"], tables["train"][:3], tables["val"][:2]]),
        "test": pd.concat([tables["test"], tables["train"][:1], tables["val"][:1]]),
    }
    data = data_in(tmp_path, more)
    assert {part: links_of(data, part) for part in ("val", "test")} == {
        part: pairs(tables[part]) for part in ("val", "test")
    }
    dataset = describe(data)["dataset"]
    assert dataset["dropped"] == {"repeated_pair": 2, "in_earlier_part": 5}
    assert dataset["rows_read"] == 907 == dataset["links"] + sum(dataset["dropped"].values())


def test_ids_are_read_by_one_rule_in_all_parts(tables, tmp_path):
    odd = {**tables, "test": tables["test"].assign(userId="u" + tables["test"].userId.astype(str))}
    write(tmp_path, odd)
    users = read_tables(tmp_path, in_parts=True).users.ids
    assert {str(user) for user in tables["train"].userId} | set(odd["test"].userId) <= set(users)
    assert all(isinstance(user, str) for user in users)


def test_ratings_and_times_count_where_all_files_have_them(tables, tmp_path):
    data = data_in(tmp_path, {**tables, "test": tables["test"].drop(columns=["rating", "timestamp"])})
    assert not {"rating", "time"} & set(data.graph.data[RATES])
    assert not data.is_by_time
    notes = data_summary(data)
    assert "note: column rating is ignored: test.csv has none" in notes
    assert "note: times are ignored, and the split is not by time: " in notes
    with pytest.raises(UserError, match=r"--data\.min_rating needs ratings, and .*test\.csv has no column rating"):
        data_in(tmp_path, {}, min_rating=3.0)


def test_low_ratings_are_no_links_of_any_part(tables, tmp_path):
    data = data_in(tmp_path, tables, min_rating=4.0)
    for part in ("val", "test"):
        assert links_of(data, part) <= pairs(tables[part][tables[part].rating >= 4])
    lowest = sum(int((table.rating < 4).sum()) for table in tables.values())
    assert data.below_min_rating == {"below_min_rating": lowest}


def test_a_share_of_0_trains_on_the_links_of_that_part(tables, tmp_path):
    data = data_in(tmp_path, tables, split=SplitSettings("given", num_val=0))
    assert (data.split.train_links.size(1), list(data.split.held_out)) == (800, ["test"])


def test_movies_that_the_file_lacks_are_counted_over_all_parts(tables, tmp_path):
    movies = pd.concat(tables.values()).movieId.unique()[:30]
    pd.DataFrame({"movieId": movies}).to_csv(tmp_path / "movies.csv", index=False)
    with pytest.raises(UserError, match=r"train\.csv and .*val\.csv and .*test\.csv are found in .*movies\.csv"):
        data_in(tmp_path, tables)
    kept = data_in(tmp_path, tables, unknown_movies="keep")
    assert kept.graph.data[RATES].num_edges == 900


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no train.csv"),
        (["test"], "holds no train.csv"),
        (["train"], r"holds no val\.csv and no test\.csv"),
        (["train", "val", "validation"], r"val\.csv and validation\.csv, which are one part"),
    ],
)
def test_files_that_are_not_there(tables, tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        data_in(tmp_path, dict.fromkeys(names, tables["test"]))


def test_movies_of_another_name_must_be_there(tables, tmp_path):
    with pytest.raises(UserError, match=r"films\.csv not found"):
        data_in(tmp_path, tables, movies_file="films.csv")
    none = data_in(tmp_path, tables, movies_file=None)
    assert none.num_features == 0


def test_the_share_of_ties_is_told_of_splits_by_time(tmp_path):
    write_movielens(tmp_path / "shop", num_users=30, num_movies=40, num_ratings=600, seed=0)
    ratings = pd.read_csv(tmp_path / "shop" / "ratings.csv")
    ratings.timestamp //= 400 * 86_400
    ratings.to_csv(tmp_path / "shop" / "ratings.csv", index=False)
    data = MovieLensDataModule(str(tmp_path / "shop"), split=SplitSettings("temporal"))
    data.setup()
    told = describe(data)["split"]
    size = ratings.groupby(["userId", "timestamp"]).movieId.transform("size")
    tied = dict(zip(zip(ratings.userId, ratings.movieId, strict=True), size > 1, strict=True))
    for part in ("val", "test"):
        expected = sum(tied[pair] for pair in links_of(data, part)) / 60
        assert told[f"{part}_tied"] == pytest.approx(expected)
        assert f"{100 * expected:.1f} % of {part}" in data_summary(data)
    random = MovieLensDataModule(str(tmp_path / "shop"))
    assert random.tied == {"val": None, "test": None}
    assert "tied" not in data_summary(random)
