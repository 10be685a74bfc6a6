"""``--config NAME``: the settings that come with the package, by name."""

import os
from pathlib import Path

import pytest

from lightning_lp.commands import fit
from lightning_lp.commands.cli import settings_of
from lightning_lp.commands.configs import names, packaged, resolved
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.registry import ENCODERS
from tests.journeys import run_script


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("flags", [["--config", "fast"], ["--config=fast"], ["-c", "fast"], ["-c=fast"]])
def test_a_name_is_a_file_of_the_package(flags, capsys):
    found = resolved(["fit", *flags, "--model.lr", "0.5"])
    assert "=".join(found[1:-2]) == f"--config={packaged('fast')}"
    assert (found[0], found[-2:]) == ("fit", ["--model.lr", "0.5"])
    assert capsys.readouterr() == ("", "")


def test_all_names_are_files():
    assert names() == ["default", "fast", "fast-linear", "large", "next", "tutorial"]
    assert all(packaged(name).is_file() for name in names())


def test_a_file_of_ones_own_goes_before(capsys):
    for path in ("fast", "scripts/configs/large.yaml"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("model: {lr: 0.5}\n")
        assert resolved(["--config", path]) == ["--config", path]
    Path("large").mkdir()
    assert resolved(["--config=large"]) == [f"--config={packaged('large')}"], "a folder holds no settings"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("folder", ["", "./", "../", "/opt/lightning_lp/"])
def test_the_path_of_former_days_works_and_says_what_to_write(folder, capsys):
    path = f"{folder}scripts/configs/fast.yaml"
    assert resolved(["--config", path]) == ["--config", str(packaged("fast"))]
    assert capsys.readouterr() == ("", f"note: {path} is no file any more: write --config fast\n")


@pytest.mark.parametrize("value", ["mine.yaml", "scripts/configs/mine.yaml", "a/fast", "configs/fast.yaml", ""])
def test_other_paths_are_left_to_who_reads_them(value):
    assert resolved([f"--config={value}"]) == [f"--config={value}"]
    assert resolved(["--config"]) == ["--config"]


def test_an_unknown_name_is_told_those_there_are():
    with pytest.raises(UserError) as told:
        resolved(["--config", "tutorail"])
    assert str(told.value) == (
        "--config tutorail: no such file, nor one of the settings default, fast, fast-linear, large, next, tutorial; "
        "did you mean tutorial?"
    )


def test_what_comes_later_goes_before():
    flags = ["--config=tutorial", "--config=large", "--model.lr=0.5"]
    model, tutorial = settings_of(flags)["model"], settings_of(flags[:1])["model"]
    assert model["encoder"]["class_path"] == ENCODERS["history"]
    assert (model["encoder"]["init_args"]["spectral_channels"], model["lr"]) == (256, 0.5)
    assert (tutorial["encoder"]["class_path"], tutorial["lr"]) == (ENCODERS["sage"], 0.001)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "default"),
        (["--data.split.strategy", "leave_last_out"], "next"),
        (["--data.split.strategy=temporal", "--model.encoder=history"], "next"),
        (["--data.split=temporal"], "next"),
        (["--data.split", '{"strategy": "leave_last_out", "seed": 3}'], "next"),
        (["--data.split={strategy: random}"], "default"),
        (["--data.split={strategy: ["], "default"),
        (["--data.split.strategy=temporal", "--data.split.strategy=random"], "default"),
        (["--data.split.strategy=given"], "default"),
        (["--config=next"], "next"),
        (["--config=next", "--config=tutorial"], "default"),
        (["--config", "tutorial", "--data.split.strategy=temporal"], "next"),
        (["--config=mine.yaml"], "next"),
        (["--config=old.yaml"], "next"),
        (["--config=damaged.yaml"], "default"),
        (["--config=not_there.yaml"], "default"),
    ],
)
def test_a_split_by_time_begins_with_other_settings(flags, expected, monkeypatch):
    Path("mine.yaml").write_text("data: {split: {strategy: leave_last_out}}")
    Path("old.yaml").write_text("data: {split: temporal}")
    Path("damaged.yaml").write_text("a: 2001-99-99")
    given = []
    monkeypatch.setattr(fit, "main", lambda args, then_test: given.extend(args))
    fit.fit(flags)
    assert given[:3] == ["fit", "--config", str(packaged(expected))]
    assert given[3:] == resolved(flags)


COMMANDS = {
    "fit.py": ["--config=nothing"],
    "new_users.py": ["--root=data", "--config=nothing"],
    "benchmark.py": ["--config=nothing"],
    "tune.py": ["--config=nothing"],
    "ablate.py": ["--", "--config=nothing"],
}


@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_knows_the_names(script, capsys):
    from lightning_lp.data.sources.synthetic import write_movielens

    write_movielens(Path("data"), num_users=20, num_movies=30, num_ratings=200, seed=0)
    assert run_script(script, *COMMANDS[script]) == 2
    assert "error: --config nothing: no such file, nor one of the settings default, fast" in capsys.readouterr().err
    assert os.listdir() == ["data"]
