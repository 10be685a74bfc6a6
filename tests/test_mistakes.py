import contextlib
import importlib
import importlib.util
import io
import math
import re
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_lp.__main__ import run
from lightning_lp.callbacks import data_report
from lightning_lp.commands.packages import missing
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import TRACEBACK, UserError
from tests.journeys import QUIET, SMALL, results, run_folders


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "movies"
    write_movielens(folder, num_users=12, num_movies=20, num_ratings=120, seed=0)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str) -> tuple[int, str]:
    """Exit status and what stands after ``error: ``."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            run(args=args)
        except SystemExit as end:
            lines = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
            assert len(lines) == 1, err.getvalue()
            return int(end.code or 0), lines[0].removeprefix("error: ")
    return 0, ""


FLAGS = {
    "--batch_size=3": "did you mean --data.batch_size?",
    "--lr=3": "did you mean --model.lr?",
    "--epochs=3": "did you mean --trainer.max_epochs?",
    "--trainer.epochs=3": "did you mean --trainer.max_epochs?",
    "--data.num_neighbours=[1]": "did you mean --data.sampling.num_neighbors?",
    "--data.split.strategy=tempral": "one of random, temporal, leave_last_out, given wanted; did you mean temporal?",
    "--data.split.num_val=nan": "--data.split.num_val nan: a finite number wanted",
    "--data.split.num_val=1.5": "--data.split.num_val 1.5: 0 or more, and less than 1",
    "--data.min_rating=x": "--data.min_rating x: a finite number or null wanted",
    "--data.sampling.num_neighbors=20,10": "--data.sampling.num_neighbors 20,10: a list such as [1,2] or null wanted",
    "--data.num_workers=100000000": "--data.num_workers 100000000: 0 to 256 wanted",
    "--data.batch_size=100000000000000000000": "1 or more, and less than 2^31",
    "--data.columns.user=movieId": "--data.columns.user movieId: another column than --data.columns.movie has wanted",
    "--data.columns.user= ": "the name of a column wanted",
    "--data.split.seed=-1": "--data.split.seed -1: 0 or more",
    "--seed_everything=-1": "a setting is refused: -1 is not in bounds",
    "--model.encoder.hidden_channels=0": "--model.encoder history cannot be made: hidden_channels 0: 1 to a million",
    "--model.lr=-1": "--model.lr -1.0: more than 0 wanted",
    "--model.num_layers=3": "did you mean --model.encoder.num_layers?",
    "--trainer.accelerator=tpuu": "invalid accelerator name",
    "--trainer.val_check_interval=0": "--trainer.val_check_interval 0: more than 0 wanted",
    "--trainer.callbacks=Foo": "Foo",
    "--config=none.yaml": "none.yaml cannot be read (No such file or directory)",
    "--early_stopping.monitor=val/aurok": "val/aurok",
}


@pytest.mark.parametrize("flag", FLAGS)
def test_wrong_flags(flag, root):
    status, error = call(
        "fit", f"--data.root={root}", "--trainer.max_epochs=1", "--trainer.log_every_n_steps=1", *QUIET, flag
    )
    assert status == 2
    assert FLAGS[flag] in error


FILES = {
    "data:\n  btach_size: 3\n": "there is no setting data.btach_size; did you mean data.batch_size?",
    "trainer:\n  max_epochss: 3\n": "did you mean trainer.max_epochs?",
    "dta:\n  batch_size: 3\n": "there is no setting dta",
    "batch_size: 3\n": "did you mean data.batch_size?",
    "checkpoint:\n  monitr: a\n": "did you mean checkpoint.monitor?",
    "fit:\n  data:\n    batch_size: 3\n": "there is no setting fit",
    "data:\n  split: randm\n": "did you mean random?",
    "data:\n  batch_size: three\n": "--data.batch_size three: a whole number wanted",
    "data:\n  batch_size: 3\n  batch_size: 4\n": "line 3: this is not YAML that can be used: batch_size is given twice",
    "data:\n  batch_size: 3\ndata:\n  split: random\n": "data is given twice",
    "model:\n  num_layers: 5\n": "there is no setting model.num_layers",
    "data:\n  seed: 5\n": "data.seed follows from seed_everything",
    "data:\n": "data is 'None': settings by name wanted, such as data.root",
    "data:\n  num_val: null\n": "--data.split.num_val null: a value wanted; the default is 0.1",
    "early_stopping:\n  patience:\n": "--early_stopping.patience null: a value wanted",
    "data: 3\n": "data is '3': settings by name wanted",
    "- 1\n": "the file is '[1]': settings by name wanted",
    "": "the file is 'None'",
    "data:\n\tbatch_size: 3\n": "line 2: this is not YAML",
    "data: {batch_size: 3": "this is not YAML",
    "? {}\n": "a name is no text",
    "a: 2001-99-99\n": "this is not YAML",
    "\udcff": "this is not YAML that can be used: 'utf-8' codec",
}


@pytest.mark.parametrize("text", FILES)
def test_wrong_files(text, root):
    Path("my.yaml").write_text(text, errors="surrogateescape")
    status, error = call("fit", f"--data.root={root}", "--config", "my.yaml")
    assert status == 2
    assert FILES[text] in error
    assert not Path("lightning_logs").exists()


OWN = """
import pytorch_lightning as pl
import torch

class Late(pl.Callback):
    def on_train_start(self, trainer, module):
        {}["none"]

class Deep(pl.Callback):
    def on_train_start(self, trainer, module):
        torch.zeros(3) @ torch.zeros(4)

class Key(pl.Callback):
    def __init__(self, name: str = "a", size: int = 1):
        {}[name]

class Attribute(pl.Callback):
    def __init__(self):
        self.none

class Assertion(pl.Callback):
    def __init__(self):
        assert False, "an even width is wanted"

class Import(pl.Callback):
    def __init__(self):
        import no_such_package.part

class Sgd(torch.optim.SGD):
    def __init__(self, params):
        super().__init__(params)
        {}["momentum"]
"""
FILES_OF_OWN = {"own.py": OWN, "halves.py": "1 / 0\n", "cut.py": "def (\n", "needs.py": "import no_such_package\n"}
CLASSES = {
    "--trainer.callbacks+=own.Late": "own.Late.on_train_start line 7: KeyError: 'none' (LIGHTNING_LP_TRACEBACK=1",
    "--trainer.callbacks+=own.Deep": "own.Deep.on_train_start line 11: ",
    "--trainer.callbacks+=own.Key": "--trainer.callbacks own.Key cannot be made: KeyError: 'a' (own.Key.__init__ line",
    "--trainer.callbacks+=own.Attribute": "own.Attribute cannot be made: AttributeError: 'Attribute' object has no",
    "--trainer.callbacks+=own.Assertion": "own.Assertion cannot be made: AssertionError: an even width is wanted",
    "--trainer.callbacks+=own.Import": "own.Import needs the package no_such_package: pip install no_such_package",
    "--trainer.callbacks+=own.Key --trainer.callbacks.size=x": "--trainer.callbacks.size x: a whole number wanted",
    "--trainer.callbacks+=own.Key --trainer.callbacks.width=1": "--trainer.callbacks own.Key has no option width",
    "--trainer.callbacks+=own.None": "--trainer.callbacks own.None: module 'own' has no attribute 'None'",
    "--trainer.callbacks+=halves.Any": "--trainer.callbacks halves.Any: division by zero",
    "--trainer.callbacks+=cut.Any": "--trainer.callbacks cut.Any: invalid syntax (cut.py, line 1)",
    "--trainer.callbacks+=needs.Any": "needs.Any: there is no module no_such_package: install it",
    "--trainer.callbacks+=elsewhere.Any": "there is no module elsewhere: put its folder on PYTHONPATH",
    "--trainer.callbacks+=pathlib.Path": "--trainer.callbacks pathlib.Path: this is no Callback",
    "--trainer.callbacks+=RichProgresBar": "there is no such class: give the name of one, or the dotted path if it is "
    "your own; did you mean RichProgressBar?",
    "--trainer.callbacks+=ModelPruning": "--trainer.callbacks ModelPruning: give --trainer.callbacks.pruning_fn, too",
    "--trainer.callbacks+=ModelPruning --trainer.callbacks.pruning_fn=x": "--trainer.callbacks ModelPruning cannot be",
    "--trainer.callbacks+=BackboneFinetuning": "AttributeError: 'LinkPredictionModule' object has no attribute 'back",
    "--trainer.logger.save_dir=x": "--trainer.logger.save_dir x: of which class? name it with --trainer.logger before",
    "--trainer.default_root_dir=foo://x": "Protocol not known: foo",
    "--optimizer=own.Sgd": "own.Sgd.__init__ line",
    "--optimizer=Adam --optimizer.lr=x": "--optimizer.lr x: a finite number wanted",
    "--lr_scheduler=StepLR": "--lr_scheduler StepLR: give --lr_scheduler.step_size, too",
}
PACKAGES = {
    "mlflow": ("--trainer.logger=MLFlowLogger", "--trainer.logger MLFlowLogger", "mlflow"),
    "wandb": ("--trainer.logger=WandbLogger", "--trainer.logger WandbLogger", "wandb"),
    "comet_ml": ("--trainer.logger=CometLogger", "--trainer.logger CometLogger", "comet-ml"),
    "torch_xla": ("--trainer.accelerator=tpu", "--trainer.accelerator tpu", "torch_xla"),
    "torch_xla.core": ("--trainer.strategy=xla", "--trainer.strategy xla", "torch_xla"),
    "torch_xla.amp": ("--trainer.plugins=XLAPrecision", "--trainer.plugins XLAPrecision", "torch_xla"),
    "transformer_engine": (
        "--trainer.precision=transformer-engine",
        "--trainer.precision transformer-engine",
        "transformer_engine",
    ),
    "bitsandbytes": (
        "--trainer.plugins=BitsandbytesPrecision --trainer.plugins.mode=nf4",
        "--trainer.plugins BitsandbytesPrecision",
        "bitsandbytes",
    ),
    "s3fs": ("--trainer.default_root_dir=s3://bucket/folder", "this command", "s3fs"),
}


def one_epoch(root: Path, flags: str) -> tuple[int, str]:
    return call(
        *("fit", f"--data.root={root}", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", *SMALL, *QUIET),
        *flags.split(),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*configure_optimizers. will be overridden")  # by --optimizer
@pytest.mark.parametrize("flags", CLASSES)
def test_wrong_classes(flags, root, here, monkeypatch):
    for name, text in FILES_OF_OWN.items():
        (here / name).write_text(text)
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
    monkeypatch.syspath_prepend(here)
    status, error = one_epoch(root, flags)
    assert status == 2
    assert CLASSES[flags] in error


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_missing_packages(package, root):
    if importlib.util.find_spec(package.split(".")[0]):
        pytest.skip(f"{package} is here")
    flags, setting, name = PACKAGES[package]
    status, error = one_epoch(root, flags)
    assert status == 2
    assert error.startswith(f"{setting} needs the package {name}: pip install ")
    assert name in error.split("pip install ")[1]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ModuleNotFoundError(
                "Requirement 'numpy>=999.1' not met. HINT: Try running `pip install -U 'numpy>=999.1'`"
            ),
            f"X needs another version of the package numpy than {np.__version__}: pip install 'numpy>=999.1'",
        ),
        (
            ModuleNotFoundError("Module not found: 'no_such'. HINT: Try running `pip install -U no_such`"),
            "X needs the package no_such: pip install no_such",
        ),
        (
            ImportError("PyTorch requires DeepSpeed. Please upgrade by running `pip install -U 'deepspeed>=0.16.0'`."),
            "X needs the package deepspeed: pip install deepspeed",
        ),
        (
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            "X needs the package cv2: pip install opencv-python",
        ),
        (
            ImportError("cannot import name 'none' from 'numpy'", name="numpy"),
            "X cannot be used: cannot import name 'none' from 'numpy'",
        ),
        (ModuleNotFoundError("No module named 'lightning_lp.none'", name="lightning_lp.none"), None),
    ],
)
def test_what_to_install(error, sentence):
    assert missing(error, "X") == sentence


def test_a_missing_dependency_is_named(capsys):
    def lacking(args: object) -> None:
        import no_such_package  # noqa: F401

    with pytest.raises(SystemExit) as end:
        run(lacking, [])
    assert end.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: this command needs the package no_such_package: pip install no_such_package\n"
    )


def test_a_fault_of_the_program_within_lightning_keeps_its_traceback(root, monkeypatch):
    monkeypatch.setattr(data_report, "split_rows", lambda _: {}["none"])
    with pytest.raises(KeyError, match="none"):
        one_epoch(root, "")


def test_all_tracebacks_can_be_had(root, monkeypatch):
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        run(lambda _: importlib.import_module("no_such_package"), [])
    with pytest.raises(UserError, match="nowhere not found"):
        run(args=["fit", "--data.root=nowhere"])


def test_a_fault_of_the_program_keeps_its_traceback():
    def broken(args: object) -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        run(broken, [])


def test_out_of_memory_says_what_to_lower(capsys):
    def hungry(args: object) -> None:
        raise MemoryError("Unable to allocate 9 EiB")

    with pytest.raises(SystemExit):
        run(hungry, [])
    assert "error: out of memory: lower --data.batch_size" in capsys.readouterr().err


# Any flag with any value

OPTIONS = re.findall(
    r"\S+",
    """
    data.split.num_val data.split.num_test data.min_rating data.split.disjoint_train_ratio
    data.sampling.neg_sampling_ratio
    data.batch_size data.split.neg_sampling_ratio data.eval_batch_size data.sampling.num_neighbors
    data.sampling.eval_num_neighbors data.split.seed data.split data.columns.user data.columns.rating data.root
    data.dataset data data.nme model model.hidden_channels model.lr model.weight_decay seed_everything
    ranking.every_n_epochs checkpoint.monitor checkpoint.mode checkpoint.save_top_k checkpoint.filename
    checkpoint.every_n_epochs early_stopping.monitor early_stopping.patience early_stopping.mode
    early_stopping.min_delta trainer.limit_train_batches trainer.limit_val_batches trainer.overfit_batches
    trainer.precision trainer.val_check_interval trainer.check_val_every_n_epoch
    trainer.accumulate_grad_batches trainer.gradient_clip_val trainer.deterministic trainer.log_every_n_steps
    trainer.num_sanity_val_steps trainer.enable_checkpointing trainer.detect_anomaly trainer.accelerator
    trainer.inference_mode
    """,
)
VALUES = ["0", "1", "-1", "3", "0.5", "1.0", "-0.1", "1e9", "9" * 25, "nan", "inf", "true", "null", "[1]", "[2,2]"]
VALUES += ["[]", "{}", "x", "", " ", "val/loss", "min", "cpu", "bf16-mixed", "temporal", "movieId", "a/b", "{epoch}"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Lightning's, about settings that are odd and allowed
@settings(max_examples=100, deadline=timedelta(seconds=30), database=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(OPTIONS), st.sampled_from(VALUES), min_size=1, max_size=2), st.booleans())
def test_any_flag_with_any_value(root, given, as_yaml):
    flags = [f"--{name}={value}" for name, value in given.items()]
    if as_yaml:
        lines = [f"{name.replace('.', ': {', 1)}: {value}{'}' * ('.' in name)}" for name, value in given.items()]
        Path("my.yaml").write_text("\n".join(lines) + "\n")
        flags = ["--config=my.yaml"]
    known = set(run_folders()) if Path("lightning_logs").exists() else set()
    root_flag = [] if "data.root" in given or "data.dataset" in given else [f"--data.root={root}"]
    status, error = call("fit", *root_flag, "--trainer.max_epochs=1", "--data.cache_dir=cache", *QUIET, *flags)
    assert status in (0, 2)
    if status == 2:
        assert error
        return
    for folder in set(run_folders()) - known:
        found = results(folder)
        assert found["dataset"]["rows_read"] == found["dataset"]["links"] + sum(found["dataset"]["dropped"].values())
        for name, value in found.get("validation", {}).items():
            assert math.isfinite(value), name
            assert value >= 0, name
            assert value <= 1 or name.startswith(("loss", "novelty")), name
