"""Logs go on where they stood at a checkpoint, and what another run logged in the same folder stays."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from lightning_lp.checkpointing.event_log import cut_logs, log_states, logs_of, open_logs
from lightning_lp.checkpointing.places import KEY
from tests.killing import events


def logger(kind: type[Any], folder: Path, run_id: str | None, *, go_on: bool = False) -> Any:
    made = kind(save_dir=folder.parent.parent, name=folder.parent.name, version=folder.name)
    open_logs([made], run_id, go_on=go_on)
    return made


def log(one: Logger, steps: range, name: str = "loss") -> None:
    for step in steps:
        one.log_metrics({name: float(step)}, step)
        one.save()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_go_on_after_those_of_the_checkpoint(tmp_path):
    folder = tmp_path / "logs" / "run"
    first = logger(CSVLogger, folder, "a")
    log(first, range(3))
    states = log_states(SimpleNamespace(loggers=[first]))
    log(first, range(3, 5))
    log(first, range(5, 6), "auroc")  # the table gets a column after the checkpoint

    again = logger(CSVLogger, folder, "a", go_on=True)
    assert len(rows(folder)) == 6
    cut_logs(SimpleNamespace(loggers=[again]), states, "a")
    assert [row["loss"] for row in rows(folder)] == ["0.0", "1.0", "2.0"]
    log(again, range(3, 5))
    log(again, range(5, 6), "auroc")
    assert [(row["step"], row["loss"], row["auroc"]) for row in rows(folder)] == [
        *((str(step), str(float(step)), "") for step in range(5)),
        ("5", "", "5.0"),
    ]


def test_a_new_table_may_be_made_by_a_continued_run(tmp_path):
    log(logger(CSVLogger, tmp_path / "logs" / "run", "a", go_on=True), range(2))
    assert [row["loss"] for row in rows(tmp_path / "logs" / "run")] == ["0.0", "1.0"]


@pytest.mark.parametrize("run_id", ["a", None], ids=["this version", "an older one"])
def test_events_after_the_checkpoint_are_logged_again(tmp_path, run_id):
    folder = tmp_path / "logs" / "version_0"
    first = logger(TensorBoardLogger, folder, run_id)
    log(first, range(3))
    states = log_states(SimpleNamespace(loggers=[first]))
    log(first, range(3, 5))
    killed = logger(TensorBoardLogger, folder, run_id, go_on=True)  # before it wrote a checkpoint
    log(killed, range(3, 4))

    again = logger(TensorBoardLogger, folder, run_id, go_on=True)
    cut_logs(SimpleNamespace(loggers=[again]), states, run_id)
    log(again, range(3, 5))
    assert sorted(step for step, _ in events(folder)["loss"]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["version_0", "shared"])
def test_events_of_another_run_stay(tmp_path, name):
    folder = tmp_path / "logs" / name
    other, first = (logger(TensorBoardLogger, folder, run_id) for run_id in "ba")
    log(first, range(3))
    states = log_states(SimpleNamespace(loggers=[first]))
    states[0]["files"] = {path: size for path, size in states[0]["files"].items() if path.endswith(".a")}
    log(other, range(2), "of the other")
    (folder / "00000").mkdir()
    cut_logs(SimpleNamespace(loggers=[logger(TensorBoardLogger, folder, "a", go_on=True)]), states, "a")
    assert [step for step, _ in events(folder)["of the other"]] == [0, 1]
    assert (folder / "00000").is_dir()
    if name == "shared":  # a checkpoint of an older version tells of no run: nothing unknown is its own
        cut_logs(SimpleNamespace(loggers=[logger(TensorBoardLogger, folder, None, go_on=True)]), states, None)
        assert [step for step, _ in events(folder)["of the other"]] == [0, 1]


def test_logs_in_another_folder_are_not_cut(tmp_path):
    """Those of the original, when a copy is continued and its logger begins anew."""
    folder = tmp_path / "logs" / "run"
    for kind in (CSVLogger, TensorBoardLogger):
        first = logger(kind, folder, "a")
        log(first, range(3))
        states = [
            {**state, "files": dict.fromkeys(state["files"], 0)}
            for state in log_states(SimpleNamespace(loggers=[first]))
        ]
        for here in (tmp_path / "logs" / "other", None):
            states[0]["folder"] = here
            again = logger(kind, folder if here else tmp_path / "logs" / "new", "a", go_on=True)
            cut_logs(SimpleNamespace(loggers=[again]), states, "a")
    assert len(rows(folder)) == 3
    assert len(events(folder)["loss"]) == 3


def test_where_the_logs_of_a_copy_are(tmp_path):
    run, copy, beside = tmp_path / "run", tmp_path / "copy", tmp_path / "beside"
    for folder in (run / "checkpoints", copy / "checkpoints", beside):
        folder.mkdir(parents=True)
    logs = [{"kind": "CSVLogger", "folder": str(folder), "files": {}} for folder in (run, beside)]
    state = {"dirpath": str(run / "checkpoints"), "best_model_path": "", "best_k_models": {}}
    content = {"callbacks": {"RunCheckpoint{}": state}, KEY: {"logs": [*logs, {"kind": "Other", "folder": None}]}}

    def found(place: Path) -> list[Path | None]:
        return [log["folder"] for log in logs_of(place / "checkpoints" / "last.ckpt", content)]

    assert found(run) == [run, beside, None]
    assert found(copy) == [copy, None, None]
    content[KEY]["logs"] = {"events": 3}  # as an older version wrote
    assert found(copy) == [copy]
