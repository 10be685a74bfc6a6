"""Several processes do what one does."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.commands.cli import main
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from tests.forks import run_fork
from tests.journeys import QUIET, SCRIPTS, SMALL, best_checkpoint, results, run_folders
from tests.killing import contents, run_process

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=40, num_movies=60, num_ratings=920, seed=0)
    return tmp_path / "movies"


def in_processes(num: int, *command: str) -> str:
    """Runs a command on some CPU processes. Returns what it prints."""
    done = run_fork([sys.executable, *command, f"--trainer.devices={num}", "--trainer.strategy=ddp", *QUIET])
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def curves(folder: Path) -> dict[str, list[float]]:
    """Every scalar that a run has logged, over time."""
    events = EventAccumulator(str(folder)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith(("train/loss", "train/lr", "val/"))]
    return {tag: [point.value for point in events.Scalars(tag)] for tag in tags}


BY_TIME = "--config=next", "--model.encoder.dropout=0"


@pytest.mark.slow
@pytest.mark.parametrize("split", [(), BY_TIME], ids=["history", "sequence"])
def test_four_processes_learn_as_one_with_the_same_global_batch(root, split):
    flags = [
        "fit",
        f"--data.root={root}",
        *split,
        "--model.encoder.hidden_channels=8",
        "--model.lr=0.01",
        "--trainer.max_epochs=2",
    ]
    in_processes(4, "-m", "lightning_lp", *flags, "--data.batch_size=16")
    main([*flags, "--data.batch_size=64", *QUIET])
    together, alone = run_folders()
    assert results(together)["split"] == results(alone)["split"]
    found, expected = curves(together), curves(alone)
    assert len(expected["train/loss"]) == len(expected["val/ndcg@20"]) == 2
    assert found.keys() == expected.keys()
    for tag, values in expected.items():
        assert found[tag] == pytest.approx(values, abs=1e-4), tag


@pytest.mark.slow
def test_two_machines_on_loopback(root):
    """torchrun on each of two nodes: one split, one folder, one result."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = [
        f"--data.root={root}",
        "--model.encoder.hidden_channels=8",
        "--trainer.max_epochs=1",
        "--data.batch_size=32",
    ]
    nodes = ["--trainer.devices=1", "--trainer.num_nodes=2", "--trainer.strategy=ddp"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
    torchrun += ["--master_addr=127.0.0.1", f"--master_port={port}"]
    processes = [
        subprocess.Popen(
            [*torchrun, f"--node_rank={rank}", "-m", "lightning_lp", "fit", *flags, *nodes, *QUIET],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed[0][-3000:] + printed[1][-3000:]
    assert len(run_folders()) == 1
    main(["fit", *flags[:-1], "--data.batch_size=64", *QUIET])
    together, alone = map(results, run_folders())
    assert together["split"] == alone["split"]
    assert together["validation"] == pytest.approx(alone["validation"], abs=1e-4)
    assert together["test"].keys() == together["validation"].keys()


@pytest.mark.slow
def test_fit_and_test_in_two_processes(root):
    small = [
        "--trainer.max_epochs=2",
        "--model.encoder.hidden_channels=8",
        "--data.batch_size=32",
        "--data.eval_batch_size=50",
    ]
    printed = in_processes(2, str(SCRIPTS / "fit.py"), f"--data.root={root}", *small)
    assert "Starting with 2 processes" in printed
    together = run_folders()[0]
    checkpoint = f"--ckpt_path={best_checkpoint(together)}"
    assert len(run_folders()) == 1  # one process writes
    # The same weights give the same metrics in one process.
    main(["validate", f"--data.root={root}", checkpoint, *QUIET])
    main(["test", f"--data.root={root}", checkpoint, *QUIET])
    validation, test = (results(folder) for folder in run_folders()[1:])
    assert results(together)["split"] == test["split"]
    assert results(together)["validation"] == pytest.approx(validation["validation"], abs=1e-6)
    assert results(together)["test"] == pytest.approx(test["test"], abs=1e-6)
    # So do its scores.
    pairs = pd.read_csv(root / "ratings.csv")[["userId", "movieId"]][::9]
    pairs["movieId"] = pairs["movieId"].mask(np.arange(len(pairs)) % 7 == 0, 99999)  # unknown
    pairs.to_csv("pairs.csv", index=False)
    predict = [
        "predict",
        f"--data.root={root}",
        checkpoint,
        "--data.predict_file=pairs.csv",
        "--data.eval_batch_size=20",
    ]
    in_processes(2, "-m", "lightning_lp", *predict, "--predictions.path=two.csv")
    main([*predict, *QUIET, "--predictions.path=one.csv"])
    one, two = pd.read_csv("one.csv"), pd.read_csv("two.csv")
    assert one[["userId", "movieId"]].equals(two[["userId", "movieId"]])
    assert one[["userId", "movieId"]].to_numpy().tolist() == pairs.to_numpy().tolist()
    assert one.probability.tolist() == pytest.approx(two.probability.tolist(), abs=1e-6, nan_ok=True)
    assert one.probability.isna().tolist() == (one.movieId == 99999).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("history", ["frozen", "rolling"])
def test_two_processes_judge_a_split_by_time_as_one(root, history):
    split = ["--data.split.strategy=temporal", f"--data.split.history={history}", f"--data.root={root}"]
    main(["fit", *split, "--model.encoder=sequence", "--trainer.max_epochs=1", *QUIET, *SMALL])
    alone = run_folders()[0]
    main(["test", *split, f"--ckpt_path={best_checkpoint(alone)}", *QUIET])
    checkpoint = f"--ckpt_path={best_checkpoint(alone)}"
    for command in ("validate", "test"):
        in_processes(2, "-m", "lightning_lp", command, *split, checkpoint, "--data.eval_batch_size=50")
    one = results(alone)["validation"], results(run_folders()[1])["test"]
    two = results(run_folders()[2])["validation"], results(run_folders()[3])["test"]
    for expected, found in zip(one, two, strict=True):
        assert expected["label_mrr"] is not None
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_two_processes_that_were_stopped_go_on_exactly(root, tmp_path):
    """Killed in the middle of an epoch, then stopped by a signal at a moment of the second one's."""
    flags = [
        f"--data.root={root}",
        "--trainer.max_epochs=3",
        "--checkpoint.autosave_steps=3",
        "--trainer.devices=2",
        "--trainer.strategy=ddp",
        *QUIET,
        *SMALL,
        "--data.batch_size=32",
        "--data.eval_batch_size=50",
    ]

    def end(folder: Path, *stops: tuple[int, int, int, int]) -> dict[str, Any]:
        folder.mkdir()
        for i, (of, at, how, status) in enumerate([*stops, (0, None, 0, 0)]):
            found = run_process(folder, ["--resume"] if i else flags, at, how, of)
            assert found == status, (folder / "output.txt").read_text()[-3000:]
        (run,) = (folder / "lightning_logs").iterdir()
        assert len(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["continuation"]["ranks"]) == 2
        return contents(run)

    whole = end(tmp_path / "whole")
    stops = (0, 150, signal.SIGKILL, -signal.SIGKILL), (1, 100, signal.SIGTERM, 143)
    assert end(tmp_path / "stopped", *stops) == whole


def test_fewer_labels_than_processes_are_refused(root):
    data = MovieLensDataModule(root=str(root))
    data.setup()
    num_labels = data.split.val["user", "rates", "movie"].edge_label.numel()
    alone = SimpleNamespace(broadcast=lambda value: value)
    for world_size in (num_labels, num_labels + 1):
        data.trainer = SimpleNamespace(
            world_size=world_size, global_rank=world_size - 1, strategy=alone, lightning_module=None
        )
        if world_size == num_labels:
            assert len(list(data.val_dataloader())) == 1  # the last process has a batch, too
        else:
            with pytest.raises(UserError, match=f"{num_labels} labels cannot be shared by {world_size} processes"):
                data.val_dataloader()


def test_processes_with_other_data_are_found_out(root):
    data = MovieLensDataModule(root=str(root))
    strategy = SimpleNamespace(broadcast=lambda value: "another")
    data.trainer = SimpleNamespace(lightning_module=None, world_size=2, global_rank=1, strategy=strategy)
    with pytest.raises(UserError, match="process 1 read other data than process 0"):
        data.setup()
    data.trainer.strategy.broadcast = lambda value: value
    data.setup()
