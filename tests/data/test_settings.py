"""The groups of the data module's settings, and the arguments that it had in their place in earlier versions."""

from dataclasses import asdict, fields
from inspect import signature

import pytest

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import Columns, Reading
from lightning_lp.data.settings import CHANGES, GROUPS, OLD_NAMES, Sampling, SplitSettings, dotted, grouped, short_names
from lightning_lp.errors import UserError

CLASSES = dict(zip(GROUPS, (Columns, SplitSettings, Sampling), strict=True))
OLD = {
    "user_column": "who",
    "movie_column": "item",
    "movie_id_column": "id",
    "genres_column": None,
    "split": "temporal",
    "num_val": 0.2,
    "split_seed": 5,
    "eval_neg_sampling_ratio": 3.0,
    "neg_sampling_ratio": 1.0,
    "num_neighbors": [4, 4],
    "num_raters": [2, 2],
}
NEW = {
    "columns": Columns(user="who", movie="item", movie_id="id", genres=None),
    "split": SplitSettings("temporal", num_val=0.2, seed=5, neg_sampling_ratio=3.0),
    "sampling": Sampling(num_neighbors=[4, 4], num_neighbors_of_movies=[2, 2], neg_sampling_ratio=1.0),
}


NEVER_OLD = {"split.non_links", "split.history"}
FLAT = {each.name: each.default for each in fields(Reading)}
FLAT_NOW = {"movies_file": None, "unknown_movies": "keep"}


def test_each_setting_that_is_in_a_group_or_was_has_one_old_name_or_never_had_one():
    leaves = [f"{group}.{each.name}" for group, kind in CLASSES.items() for each in fields(kind)]
    assert sorted([*OLD_NAMES.values(), *NEVER_OLD]) == sorted([*leaves, *FLAT])
    assert {name.partition(".")[0] for name in [*OLD_NAMES.values()]} < set(signature(MovieLensDataModule).parameters)
    assert not OLD_NAMES.keys() & set(OLD_NAMES.values())


def test_how_files_are_read_is_told_by_plain_arguments():
    parameters = signature(MovieLensDataModule).parameters
    assert {name: parameters[name].default for name in FLAT} == FLAT
    data = MovieLensDataModule("x", **FLAT_NOW)
    assert data.reading == Reading(**FLAT_NOW)
    assert data.hparams.items() >= FLAT_NOW.items()
    assert "reading" not in data.hparams


@pytest.mark.parametrize("reading", [Reading(**FLAT_NOW), FLAT_NOW, asdict(Reading(**FLAT_NOW))])
def test_the_group_of_before_is_read(reading):
    data = MovieLensDataModule("x", reading=reading)
    assert data.hparams == MovieLensDataModule("x", **FLAT_NOW).hparams
    assert data.hparams == MovieLensDataModule(**data.hparams).hparams


def test_of_settings_in_both_ways_the_later_is_told_from_a_checkpoint():
    hparams = {"root": "x", "reading": asdict(Reading(**FLAT_NOW)), "split": {"num_val": 0.2}}
    for change in ({"unknown_movies": "drop"}, {"reading": {"unknown_movies": "drop"}}):
        data = MovieLensDataModule(**hparams, **{CHANGES: change})
        assert data.reading == Reading(movies_file=None, unknown_movies="drop")
        assert grouped(hparams, change)["unknown_movies"] == "drop"
        assert dotted(grouped(hparams, change))["movies_file"] is None
    assert short_names(hparams)["movies_file"] is None


def test_the_arguments_of_before_are_those_of_the_groups():
    old, new = MovieLensDataModule("x", **OLD), MovieLensDataModule("x", **NEW)
    assert old.hparams == new.hparams
    assert old.hparams == MovieLensDataModule(**old.hparams).hparams
    assert (old.columns, old.split_settings, old.sampling) == tuple(NEW[group] for group in GROUPS)
    assert short_names(old.hparams).items() >= {**OLD, "root": old.hparams["root"], "num_test": 0.1}.items()


def test_a_dictionary_may_be_a_part_of_a_group():
    data = MovieLensDataModule("x", split={"num_val": 0.2})
    assert data.split_settings == SplitSettings(num_val=0.2)
    assert MovieLensDataModule("x", split="temporal").split_settings == SplitSettings("temporal")


@pytest.mark.parametrize("given", [{"split": SplitSettings(seed=5)}, {"split": {"num_test": 0.2}}])
def test_a_setting_that_is_given_in_both_ways_is_refused(given):
    with pytest.raises(TypeError, match="num_val is now num_val of split, which is given, too"):
        MovieLensDataModule("x", num_val=0.2, **given)
    with pytest.raises(TypeError, match=r"reading\.text_ids is now text_ids, which is given, too: give it there alone"):
        MovieLensDataModule("x", text_ids=True, reading={"text_ids": False})


def test_what_never_was_an_argument_is_refused():
    with pytest.raises(TypeError, match="MovieLensDataModule has no arguments num_vall"):
        MovieLensDataModule("x", num_vall=0.2)
    with pytest.raises(TypeError, match=r"MovieLensDataModule has no arguments reading\.movie_file"):
        MovieLensDataModule("x", reading={"movie_file": "y"})


def test_layers_of_settings_are_put_together_by_leaf_and_the_later_wins():
    layers = {"split": "temporal", "num_val": 0.2, "root": "a"}, {"split": {"num_val": 0.3, "seed": 1}}, {"root": "b"}
    found = grouped(*layers)
    assert found == {"split": {"strategy": "temporal", "num_val": 0.3, "seed": 1}, "root": "b"}
    assert grouped(found, {"num_val": 0.4})["split"]["num_val"] == 0.4
    assert dotted(found) == {"split.strategy": "temporal", "split.num_val": 0.3, "split.seed": 1, "root": "b"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SplitSettings(num_val=2), r"--data\.split\.num_val 2: 0 or more, and less than 1, wanted"),
        (lambda: SplitSettings("tempral"), r"--data\.split\.strategy tempral: one of random, temporal"),
        (lambda: SplitSettings(neg_sampling_ratio=0), r"--data\.split\.neg_sampling_ratio 0: more than 0"),
        (lambda: SplitSettings(non_links="all"), r"--data\.split\.non_links all: one of auto, any, of_source"),
        (
            lambda: SplitSettings("temporal", history="new"),
            r"--data\.split\.history new: one of frozen, rolling",
        ),
        (
            lambda: SplitSettings(history="rolling"),
            r"--data\.split\.history rolling: frozen with --data",
        ),
        (
            lambda: MovieLensDataModule("x", split=SplitSettings("given"), ratings_file="r.csv"),
            r"--data\.ratings_file r\.csv: leave it out with --data\.split\.strategy given",
        ),
        (
            lambda: MovieLensDataModule(
                "x", split=SplitSettings("temporal", history="rolling"), sampling=Sampling(eval_num_neighbors=[5])
            ),
            r"--data\.sampling\.eval_num_neighbors \[5\]: leave it out with --data\.split\.history rolling",
        ),
        (lambda: Sampling(num_neighbors=[0]), r"--data\.sampling\.num_neighbors \[0\]: a list of -1 or more than 0"),
        (lambda: Sampling([1, 2], [0]), r"--data\.sampling\.num_neighbors_of_movies \[0\]: a list of 2 numbers"),
        (lambda: Columns(user=" "), r"--data\.columns\.user  : the name of a column wanted"),
        (lambda: Columns(time="rating"), r"--data\.columns\.rating rating: another column than --data\.columns\.time"),
        (lambda: Reading(genres_separator=""), r"--data\.genres_separator : a character or more"),
    ],
)
def test_groups_check_themselves(make, message):
    with pytest.raises(UserError, match=message):
        make()
