"""Each group of figures on tiny data, as a user runs it; the figures themselves are a matter of the machine."""

import json
import re
from pathlib import Path

import pytest
import yaml

from lightning_lp.commands.benchmark import fast, growth, sampler, serve, step
from lightning_lp.commands.benchmark.command import GROUPS, rounded
from lightning_lp.commands.benchmark.workload import run_child
from lightning_lp.commands.configs import packaged
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from tests.conftest import SHARED
from tests.journeys import SCRIPTS, SMALL, run_script

BASELINE = SHARED / "bench" / "notebook_baseline.py"
TINY = ["--repeat=1", "--threads=1", "--steps=2", "--out=out.json", "--data.batch_size=64", "--trainer.accelerator=cpu"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=40, num_movies=60, num_ratings=900, seed=0)
    return tmp_path / "movies"


def measured(root: Path, *options: str) -> dict[str, list[dict]]:
    """Runs the command. Returns its figures by what they are of."""
    assert run_script("benchmark.py", *TINY, f"--data.root={root}", *options) == 0
    figures: dict[str, list[dict]] = {}
    for figure in json.loads(Path("out.json").read_text())["figures"]:
        assert figure["value"] >= 0
        figures.setdefault(figure["what"], []).append(figure)
    return figures


@pytest.mark.slow
def test_stages_sampler_step_and_ranking(root, capsys, monkeypatch):
    monkeypatch.setattr(sampler, "WORKERS", (0,))
    monkeypatch.setattr(step, "_STEPS", 3)
    found = measured(root, "--groups", "stages", "sampler", "step", "ranking")
    assert {"read", "graph", "split", "sampler", "first batch"} <= found.keys()
    assert {"sampling", "transfer", "forward", "backward", "optimiser", "sum"} <= found.keys()
    assert {"embed all nodes", "rank and judge", "of which judge"} <= found.keys()
    assert len(found["links"]) == len(sampler.BATCH_SIZES) * len(sampler.FAN_OUTS)
    assert len(found["messages by time"]) == len(sampler.BESIDE) * len(sampler.FAN_OUTS)
    parts = sum(found[part][0]["value"] for part in step._PARTS)
    assert found["sum"][0]["value"] == pytest.approx(parts)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "batch 64" in out


def test_the_machine_is_in_the_file(root, monkeypatch):
    from lightning_lp.commands.benchmark import machine

    for name, value in (("_FLOATS", 2**12), ("_ROWS", 2**6), ("_SIDE", 16)):
        monkeypatch.setattr(machine, name, value)
    assert len(measured(root, "--groups", "machine")) == 3
    about = json.loads(Path("out.json").read_text())["machine"]
    assert about["cpu"]
    assert about["threads"] == 1
    assert {"cores", "memory_gib", "torch", "python"} <= about.keys()


@pytest.mark.slow
def test_a_service_is_asked(root, monkeypatch):
    monkeypatch.setattr(serve, "NUM_REQUESTS", 200)
    found = measured(root, "--groups", "serve", "--config", "default", *SMALL)
    for what in ("each user for the first time", "users again and again", "ratings, each on the disk"):
        assert found[what][0]["value"] > 1
        assert found[f"{what}: half within"][0]["value"] <= found[f"{what}: 99 % within"][0]["value"]
    assert found["start to ready"][0]["value"] > 0.1
    assert found["memory of the service"][0]["value"] > 50
    assert found["implicit's recommend, without HTTP"][0]["value"] > 1


@pytest.mark.slow
def test_growth_generates_each_size_once(root, monkeypatch):
    monkeypatch.setattr(growth, "SIZES", {100_000: (40, 60)})
    monkeypatch.setattr(
        growth, "write_movielens", lambda path, users, movies, _: write_movielens(path, users, movies, 900)
    )
    found = measured(root, "--groups", "growth", "--sizes", "100000", "--cache", "cache")
    assert found["peak memory, first batch"][0]["value"] <= found["peak memory, 2 steps"][0]["value"]
    assert {"read", "first batch", "training", "sampling", "embed all nodes"} <= found.keys()
    assert any(re.fullmatch(r"rank \d+ users", what) for what in found)
    monkeypatch.setattr(growth, "write_movielens", None)
    assert growth.synthetic(Path("cache"), 100_000) == Path("cache/synthetic-100000")


@pytest.mark.slow
def test_time_to_auroc_beside_the_baseline(root, monkeypatch, tmp_path):
    monkeypatch.setattr(fast, "TARGET", 0.2)
    baseline = tmp_path / "baseline.py"
    result = {"train_s": 80.0, "epochs": [{"val_auroc": 0.93}]}
    baseline.write_text(f"import sys\nassert '--threads=1' in sys.argv\nprint('{json.dumps(result)}')\n")
    found = measured(root, "--groups", "fast", "--baseline", str(baseline))
    training, whole = (
        found["training to AUROC 0.2"][0]["value"],
        found["whole fit, with imports and test"][0]["value"],
    )
    assert 0 < training < whole
    assert found["notebook's training / training"][0]["value"] == pytest.approx(80 / training)
    assert found["notebook's training / whole fit"][0]["value"] == pytest.approx(80 / whole)


@pytest.mark.slow
@pytest.mark.skipif(not BASELINE.is_file(), reason="needs torch-sparse's wheel beside the notebook's script")
def test_both_samplers_are_measured(root, monkeypatch):
    monkeypatch.setattr(sampler, "FAN_OUTS", ())
    found = measured(root, "--groups", "sampler", "--baseline", str(BASELINE))
    assert len(found["sampling, torch-sparse / ours"]) == len(found["whole batch"]) == len(sampler.BESIDE)


def test_a_baseline_without_torch_sparse_is_told_before_anything_is_measured(root, capsys):
    Path("baseline.py").touch()
    options = [*TINY, f"--data.root={root}", "--groups=sampler", "--baseline=baseline.py"]
    assert run_script("benchmark.py", *options) == 2
    assert "baseline.py: a script with torch-sparse's wheel beside it wanted" in capsys.readouterr().err


def test_seconds_to_a_target_add_up_over_epochs(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    (tmp_path / "results.json").write_text('{"split": {"train_links": 600}}')
    with SummaryWriter(tmp_path) as writer:
        for epoch, (auroc, rate) in enumerate([(0.8, 100.0), (0.9, 200.0), (0.95, 300.0)]):
            writer.add_scalar("val/auroc", auroc, epoch)
            writer.add_scalar("train/links_per_s", rate, epoch)
    assert fast.seconds_to(0.85, tmp_path) == pytest.approx(6 + 3)
    with pytest.raises(UserError, match=r"the best was 0\.9500"):
        fast.seconds_to(0.99, tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--baseline=nowhere.py"], "--baseline nowhere.py: the path of a script wanted"),
        (["--data.root=nowhere"], "--data.root nowhere: a folder with movies.csv and ratings.csv wanted"),
        (["--config=nowhere.yaml"], "--config nowhere.yaml cannot be read"),
        (["--repeat=0"], "--repeat 0: 1 or more wanted"),
        (["--sizes=7"], "--sizes 7: one of 100000, 1000000, 5000000, 25000000 wanted"),
        (["--groups=speed"], "invalid choice: 'speed'"),
        (["--model.lrr=1"], "--model.lr"),
    ],
)
def test_mistakes_are_told_in_one_sentence(options, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_script("benchmark.py", *options) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_failing_process_is_told_with_its_last_line(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("print('first')\nraise SystemExit('no wheel')\n")
    with pytest.raises(UserError, match="status 1: no wheel"):
        run_child([script, "x"], threads=1)


def test_the_memory_of_a_process_is_its_own(tmp_path):
    script = tmp_path / "small.py"
    script.write_text("print('done')\n")
    child = run_child([script, "x"], threads=1)  # of this process, which holds torch
    assert child.output == "done"
    assert child.peak_mib < 100
    assert child.seconds > 0


def test_values_are_rounded_to_what_counts():
    assert [rounded(value) for value in (1234567.8, 99.94, 0.012345)] == ["1,234,568", "99.9", "0.0123"]


def test_every_group_is_named_where_the_figures_are():
    text = (SCRIPTS.parent / "benchmarks" / "README.md").read_text()
    assert all(f"--groups {group}" in text for group in GROUPS)


def test_fast_is_the_tutorials_model_and_loss():
    fast_, tutorial = (yaml.safe_load(packaged(name).read_text()) for name in ("fast", "tutorial"))
    for name in ("encoder", "losses", "weight_decay"):
        assert fast_["model"][name] == tutorial["model"][name]
    for group in ("split", "sampling"):
        assert fast_["data"][group]["neg_sampling_ratio"] == tutorial["data"][group]["neg_sampling_ratio"]
    assert fast_["data"]["title_terms"] == tutorial["data"]["title_terms"]
    assert len(fast_["data"]["sampling"]["num_neighbors"]) == 2
    assert fast_["early_stopping"]["stopping_threshold"] == fast.TARGET
