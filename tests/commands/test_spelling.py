"""Options of the data as they were given in earlier versions, on the command line and in YAML files."""

from pathlib import Path

import pytest
import yaml

from lightning_lp.commands.cli import main, settings_of
from lightning_lp.commands.compare import _parse
from lightning_lp.commands.settings_parser import SettingsParser
from lightning_lp.data.settings import OLD_NAMES
from tests.test_mistakes import call

VALUES = {
    **{f"{name}_column": f"my {name}" for name in ("user", "movie", "rating", "time", "title", "genres", "movie_id")},
    "split": "temporal",
    "num_val": 0.2,
    "num_test": 0.3,
    "split_seed": 7,
    "disjoint_train_ratio": 0.4,
    "exclude_seed_links": False,
    "neg_sampling_ratio": 3.0,
    "eval_neg_sampling_ratio": 5.0,
    "exact_negatives": False,
    "num_neighbors": [4, 3],
    "num_raters": [2, 1],
    "eval_num_neighbors": [-1, 9],
}


FLAT = {
    "movies_file": "films.csv",
    "ratings_file": "votes.csv",
    "genres_separator": ";",
    "unknown_movies": "keep",
    "text_ids": True,
}
OLD = VALUES | {f"reading.{name}": value for name, value in FLAT.items()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected() -> dict:
    found: dict = {"split": {"non_links": "auto", "history": "frozen"}}
    for name, new in OLD_NAMES.items():
        group, _, leaf = new.partition(".")
        if leaf:
            found.setdefault(group, {})[leaf] = OLD[name]
        else:
            found[group] = OLD[name]
    return found


@pytest.mark.parametrize("apart", [True, False])
def test_flags(apart, capsys):
    pairs = [(f"--data.{name}", yaml.safe_dump(value, default_flow_style=True)) for name, value in OLD.items()]
    pairs = [(flag, value.removesuffix("...\n").strip()) for flag, value in pairs]
    flags = [part for pair in pairs for part in pair] if apart else ["=".join(pair) for pair in pairs]
    data = settings_of(flags)["data"]
    assert {group: data[group] for group in expected()} == expected()
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert all(f"--data.{old} is now --data.{new}" in notes[0] for old, new in OLD_NAMES.items())


def test_a_yaml_file(capsys):
    Path("old.yaml").write_text(yaml.safe_dump({"data": {"batch_size": 9, **VALUES, "reading": FLAT}}))
    data = settings_of(["--config=old.yaml"])["data"]
    assert {group: data[group] for group in expected()} == expected()
    assert data["batch_size"] == 9
    err = capsys.readouterr().err
    assert err.count("note: ") == 1
    assert "note: old.yaml: data." in err
    assert f", and {len(OLD) - 3} more (lightning-lp fit --help" in err
    Path("old.yaml").write_text("data: {split: temporal, num_val: 0.2}")
    assert settings_of(["--config=old.yaml"])["data"]["split"]["num_val"] == 0.2
    err = capsys.readouterr().err
    assert "old.yaml: data.split is now data.split.strategy, data.num_val is now data.split.num_val; the old" in err
    Path("old.yaml").rename("config.yaml")
    assert settings_of(["--config=config.yaml"])["data"]["split"]["strategy"] == "temporal"
    assert capsys.readouterr().err == ""


def test_the_later_wins():
    assert (
        settings_of(["--data.split=temporal", "--data.split.strategy=random"])["data"]["split"]["strategy"] == "random"
    )
    Path("both.yaml").write_text("data:\n  split: {num_val: 0.3, num_test: 0.2}\n  num_val: 0.4\n")
    split = settings_of(["--config=both.yaml", "--data.num_test=0.05"])["data"]["split"]
    assert (split["num_val"], split["num_test"]) == (0.4, 0.05)
    Path("new.yaml").write_text("data:\n  split: {num_val: 0.25, seed: 3}\n")
    split = settings_of(["--config=both.yaml", "--config=new.yaml"])["data"]["split"]
    assert (split["num_val"], split["num_test"], split["seed"]) == (0.25, 0.2, 3)
    for flags in (["--data.movies_file=a", "--data.reading.movies_file=b"], ["--data.reading=a.yaml"]):
        Path("a.yaml").write_text("movies_file: b")
        assert settings_of(flags)["data"]["movies_file"] == "b"
    Path("both.yaml").write_text("data:\n  movies_file: a\n  reading: {movies_file: b, text_ids: true}\n")
    data = settings_of(["--config=both.yaml", "--data.text_ids=false"])["data"]
    assert (data["movies_file"], data["text_ids"]) == ("b", False)


def test_a_group_may_be_given_as_a_whole(capsys):
    Path("split.yaml").write_text("num_val: 0.3\nseed: 4\n")
    for flag in ("--data.split={num_val: 0.3, seed: 4}", "--data.split=split.yaml"):
        split = settings_of([flag])["data"]["split"]
        assert (split["strategy"], split["num_val"], split["seed"]) == ("random", 0.3, 4)
    assert "note: " not in capsys.readouterr().err


@pytest.mark.parametrize("apart", [True, False])
def test_a_group_that_there_is_no_more_may_be_given_as_a_whole(apart, capsys):
    Path("reading.yaml").write_text("movies_file: null\ntext_ids: true\n")
    for text in ("{movies_file: null, text_ids: true}", "reading.yaml"):
        data = settings_of(["--data.reading", text] if apart else [f"--data.reading={text}"])["data"]
        assert (data["movies_file"], data["text_ids"], data["ratings_file"]) == (None, True, "ratings.csv")
        assert "--data.reading.movies_file is now --data.movies_file" in capsys.readouterr().err
    Path("null.yaml").write_text("data: {reading: null}")
    assert settings_of(["--config=null.yaml"])["data"]["movies_file"] == "movies.csv"


def test_new_names_have_no_note(capsys):
    Path("new.yaml").write_text("data:\n  split:\n    strategy: temporal\n  movies_file: films.csv\n")
    flags = [f"--data.{name}={value}" for name, value in FLAT.items() if name != "movies_file"]
    settings = settings_of(
        ["--config=new.yaml", "--data.split.num_val=0.2", "--data.sampling.num_neighbors=[3]", *flags]
    )
    assert settings["data"]["split"]["strategy"] == "temporal"
    assert settings["data"].items() >= FLAT.items()
    assert capsys.readouterr().err == ""


def test_only_what_is_given_replaces_settings_of_a_run(capsys):
    data = _parse(["--run=x", "--data.split_seed=6", "--data.reading.text_ids=true"]).data
    assert data == {"split": {"seed": 6}, "text_ids": True}
    assert "--data.split_seed is now --data.split.seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--data.split=tempral", "--data.split.strategy tempral: one of random, temporal, leave_last_out, given"),
        ("--data.num_val=2", "--data.split.num_val 2.0: 0 or more, and less than 1, wanted"),
        ("--data.split.num_vall=2", "did you mean --data.split.num_val?"),
        ("--data.reading.movie_file=x", "did you mean --data.movies_file?"),
        ("--data.reading=[x]", "--data.reading [x]: settings by name wanted, or a YAML file of them"),
        ("--data.reading.unknown_movies=ask", "--data.unknown_movies ask: one of refuse, drop, keep"),
        ("--data.genres_separator=", "--data.genres_separator : a character or more wanted"),
        ("--data.num_rater=[2]", "did you mean"),
        ("--data.split.num_val=x", "--data.split.num_val x: a finite number wanted"),
        ("--data.split={num_val: 2}", "--data.split.num_val 2.0: 0 or more"),
    ],
)
def test_mistakes(flag, message):
    status, error = call("fit", "--data.root=nowhere", flag)
    assert status == 2
    assert message in error


def test_help_names_the_groups(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "share of the links held out for validation" in text
    assert "name of the column with the user's id" in text
    assert "--data.num_val" not in text
    assert "--data.movies_file MOVIES_FILE another name or path of the movies' file" in text
    assert all(f"--data.{name} " in text for name in FLAT)
    assert "--data.reading" not in text


def test_a_whole_number_stays_one_whatever_was_imported_first():
    """`--trainer.limit_val_batches 1` is one batch, and 1.0 are all."""
    parser = SettingsParser()
    parser.add_argument("--limit", type=float | int | None)
    parser.read_whole_numbers_as_such()
    for text, value in (("1", 1), ("1.0", 1.0), ("0.5", 0.5), ("null", None)):
        found = parser.parse_args([f"--limit={text}"]).limit
        assert found == value
        assert type(found) is type(value)
