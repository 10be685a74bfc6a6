import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lightning_lp.commands import reproduce as module
from lightning_lp.commands.reproduce import reproduce
from lightning_lp.errors import UserError
from lightning_lp.evaluation.linear import EASE
from lightning_lp.evaluation.published import BENCHMARKS, Benchmark, Published
from lightning_lp.evaluation.queries import make_links
from tests.journeys import QUIET, SMALL, results, run_script

NUM_USERS, NUM_MOVIES, NUM_TEST = 30, 40, 60


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """All pairs of 30 users with 40 movies that some like, in random order."""
    rng = np.random.default_rng(0)
    liked = np.argwhere(rng.random((NUM_USERS, NUM_MOVIES)) < np.linspace(0.1, 0.7, NUM_MOVIES))
    return pd.DataFrame(rng.permutation(liked), columns=["userId", "movieId"])


@pytest.fixture
def files(pairs, tmp_path, monkeypatch) -> Path:
    """A folder with them as published files, which NAME ``tiny`` means; the folder above it is the current one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    pairs[NUM_TEST:].to_csv(folder / "train.csv", index=False)
    pairs[:NUM_TEST].to_csv(folder / "test.csv", index=False)
    counts = {"users": NUM_USERS, "movies": NUM_MOVIES, "train_links": len(pairs) - NUM_TEST, "test_links": NUM_TEST}
    rows = (Published("popularity", 0.5, 0.25, "Nobody, NONE 2000"), Published("SimpleX", 0.625, 0.375, "Mao, 2021"))
    monkeypatch.setitem(BENCHMARKS, "tiny", Benchmark("Tiny", counts, ease_l2=3.0, rows=rows))
    monkeypatch.chdir(tmp_path)
    return folder


def recall_and_ndcg(scores: np.ndarray, train: np.ndarray, test: np.ndarray) -> list[float]:
    """Recall@20 and NDCG@20 by a loop over users, from scores of all pairs and links as matrices of 0 and 1."""
    recall, ndcg = [], []
    for user in range(len(scores)):
        if not test[user].any():
            continue
        unseen = [movie for movie in np.argsort(-scores[user], kind="stable") if not train[user, movie]][:20]
        hits = [place for place, movie in enumerate(unseen) if test[user, movie]]
        ideal = sum(1 / np.log2(place + 2) for place in range(min(20, int(test[user].sum()))))
        recall.append(len(hits) / test[user].sum())
        ndcg.append(sum(1 / np.log2(place + 2) for place in hits) / ideal)
    return [np.mean(recall), np.mean(ndcg)]


def dense(table: pd.DataFrame) -> np.ndarray:
    links = np.zeros((NUM_USERS, NUM_MOVIES))
    links[table.userId, table.movieId] = 1
    return links


@pytest.mark.slow
def test_what_is_measured_stands_beside_what_is_published(files, pairs, capsys):
    assert run_script("reproduce.py", "tiny", "tiny", "--trainer.max_epochs=2", *QUIET, *SMALL) == 0
    out = capsys.readouterr().out
    table = out[out.index("Tiny: 30 users, 40 movies, 388 train links, 60 test links, as published") :]
    assert max(map(len, table.splitlines())) <= 100
    assert "…" not in table
    found = json.loads(Path("lightning_logs/reproduce_tiny.json").read_text())
    measured = {name: [entry["metrics"][key] for key in module.SHOWN] for name, entry in found["measured"].items()}
    assert list(measured) == ["popularity", "EASE", "this run"]

    train, test = dense(pairs[NUM_TEST:]), dense(pairs[:NUM_TEST])
    popular = train.sum(axis=0) + np.zeros_like(train)
    assert measured["popularity"] == pytest.approx(recall_and_ndcg(popular, train, test))
    ease, links = EASE(l2=3.0), make_links(torch.from_numpy(np.argwhere(train).T.copy()), NUM_USERS, NUM_MOVIES)
    ease.fit(links, None, 0)
    scores = ease.score(links.queries(torch.arange(NUM_USERS))).numpy()
    assert measured["EASE"] == pytest.approx(recall_and_ndcg(scores, train, test))

    lines = {line.split("  ")[0].strip(): line.split() for line in table.splitlines()}
    shown = {name: [f"{value:.4f}" for value in measured[name]] for name in measured}
    assert lines["popularity"] == ["popularity", "0.5000", "0.2500", *shown["popularity"], "Nobody,", "NONE", "2000"]
    assert lines["SimpleX"] == ["SimpleX", "0.6250", "0.3750", "Mao,", "2021"]
    assert lines["EASE"] == ["EASE", *shown["EASE"]]
    assert lines["this run"] == ["this", "run", *shown["this run"]]

    assert (found["counts"], found["published"]["SimpleX"]["ndcg"]) == (dict(BENCHMARKS["tiny"].counts), 0.375)
    run = results(Path(found["run"]))
    assert (run["split"]["fingerprint"], run["timing"]["epochs"]) == (found["split"], 2)
    first, second = (
        yaml.safe_load((folder / "config.yaml").read_text())
        for folder in sorted(Path("lightning_logs").glob("version_*"))
    )
    assert (first["data"]["split"]["num_val"], first["data"]["ratings_file"]) == (0.1, "train.csv")
    options = second["model"]["encoder"]["init_args"]
    assert found["chosen"] == {name: options[name] for name in ("spectral_weight", "spectral_l2")}
    assert None not in found["chosen"].values()
    assert first["model"]["encoder"]["init_args"]["spectral_l2"] is None
    assert [run["test"][key] for key in module.SHOWN] == pytest.approx(measured["this run"], abs=1e-6)


def test_what_does_not_fit_the_memory_is_told(files, monkeypatch, capsys):
    monkeypatch.setattr(EASE, "memory", lambda *_: 2**60)
    reproduce(["tiny", "tiny", "--trainer.max_epochs=1", *QUIET, *SMALL])
    out = capsys.readouterr().out
    assert "EASE was skipped: needs" in out
    assert out.count(" skipped ") >= 2
    entry = json.loads(Path("lightning_logs/reproduce_tiny.json").read_text())["measured"]["EASE"]
    assert entry["skipped"] in " ".join(out.split())
    assert not entry["metrics"]


def test_an_encoder_that_chooses_nothing_is_fitted_once(files, capsys):
    small = [flag for flag in SMALL if "spectral" not in flag]
    reproduce(["tiny", "tiny", "--trainer.max_epochs=1", "--model.encoder=sage", *QUIET, *small])
    assert [path.name for path in Path("lightning_logs").glob("version_*")] == ["version_0"]
    assert json.loads(Path("lightning_logs/reproduce_tiny.json").read_text())["chosen"] == {}


def no_test_file(folder: Path) -> None:
    (folder / "test.csv").unlink()


def one_line_less(folder: Path) -> None:
    lines = (folder / "train.csv").read_text().splitlines()
    (folder / "train.csv").write_text("\n".join(lines[:-1]) + "\n")


def another_part(folder: Path) -> None:
    shutil.copy(folder / "test.csv", folder / "val.csv")


@pytest.mark.parametrize(
    ("damage", "args", "message"),
    [
        (None, ["gowala", "tiny"], "invalid choice: 'gowala'"),
        (None, ["tiny"], "required: DIR"),
        (None, ["tiny", "nowhere"], "nowhere holds no train.csv: DIR is the folder"),
        (None, ["tiny", "tiny", "--data.root=other"], "--data.root: leave it out, reproduce reads the files of DIR"),
        (None, ["tiny", "tiny", "--data.split.strategy", "random"], "--data.split.strategy: leave it out"),
        (None, ["gowalla", "tiny"], "tiny does not hold Gowalla as published: 30 users, not 29,858; 40 movies"),
        (None, ["tiny", "tiny", "--data.split.num_test=0"], "; 0 test_links, not 60: give a folder"),
        (no_test_file, ["tiny", "tiny"], "tiny holds no test.csv: DIR is the folder"),
        (one_line_less, ["tiny", "tiny"], r"as published: \d+ train_links, not \d+: give a folder"),
        (another_part, ["tiny", "tiny"], "60 val_links, not 0"),
    ],
)
def test_mistakes_are_told_in_one_sentence(files, damage, args, message):
    if damage:
        damage(files)
    with pytest.raises(UserError, match=message):
        reproduce(args)
    assert not Path("lightning_logs").exists()


def test_a_wrong_flag_of_fit_is_told_before_anything_is_fitted(files, monkeypatch, capsys):
    monkeypatch.setattr(EASE, "fit", None)
    with pytest.raises(SystemExit) as end:
        reproduce(["tiny", "tiny", "--trainer.max_epoch=1"])
    assert end.value.code == 2
    assert "did you mean --trainer.max_epochs" in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_published_figures_are_shares_of_a_benchmark_that_is_told(benchmark):
    assert set(benchmark.counts) == {"users", "movies", "train_links", "test_links"}
    assert len({row.model for row in benchmark.rows}) == len(benchmark.rows)
    assert all(0 < row.ndcg < row.recall < 1 and row.source for row in benchmark.rows)
