from pathlib import Path
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lp.checkpointing.best_log import BEST_FOLDER, remove_best, write_best
from lightning_lp.checkpointing.event_log import cut_logs

VALIDATION, TEST = {"loss": 0.5, "auroc": None, "recall@20": 0.25}, {"loss": 0.625, "auroc": 0.75}


def log(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / BEST_FOLDER))
    found.Reload()
    return found


def test_points_of_validation_and_a_table_of_all(tmp_path):
    write_best(tmp_path, {"lr": 0.1, "none": None}, {"validation": VALIDATION, "test": TEST}, step=7)
    found = log(tmp_path)
    assert {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]} == {
        "val/loss": [(7, 0.5)],
        "val/recall@20": [(7, 0.25)],
    }
    (text,) = found.Tensors("results/text_summary")
    assert text.tensor_proto.string_val[0].decode().splitlines() == [
        "| best checkpoint | validation | test |",
        "| --- | ---: | ---: |",
        "| loss | 0.5000 | 0.6250 |",
        "| auroc | undefined | 0.7500 |",
        "| recall@20 | 0.2500 | undefined |",
    ]


def test_it_is_written_anew(tmp_path):
    for parts, step in (({"validation": TEST}, 3), ({"validation": VALIDATION}, 4)):
        write_best(tmp_path, {}, parts, step)
    assert len(list((tmp_path / BEST_FOLDER).iterdir())) == 1
    assert [(event.step, event.value) for event in log(tmp_path).Scalars("val/loss")] == [(4, 0.5)]


@pytest.mark.parametrize("is_there", [True, False])
def test_only_its_own_files_are_removed(tmp_path, is_there):
    (tmp_path / BEST_FOLDER).mkdir()
    (tmp_path / BEST_FOLDER / "notes.txt").write_text("mine")
    if is_there:
        write_best(tmp_path, {}, {"validation": VALIDATION}, step=1)
    remove_best(tmp_path)
    assert [path.name for path in (tmp_path / BEST_FOLDER).iterdir()] == ["notes.txt"]


def test_a_run_that_goes_on_has_no_best_yet(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    run = Path(logger.log_dir)
    write_best(run, {}, {"validation": VALIDATION}, step=1, suffix=".a")
    write_best(run, {}, {"validation": VALIDATION}, step=1, suffix=".another")
    cut_logs(SimpleNamespace(loggers=[logger]), [{"kind": "TensorBoardLogger", "folder": str(run), "files": {}}], "a")
    (kept,) = (run / BEST_FOLDER).iterdir()
    assert kept.name.endswith(".another")
    assert list(run.glob("events.out.tfevents.*"))  # which this process writes
