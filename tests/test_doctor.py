import builtins
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lightning_lp.__main__ import COMMANDS, run
from lightning_lp.commands import doctor


def call(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and lines of ``lightning-lp doctor``."""
    status = 0
    try:
        run(args=["doctor"])
    except SystemExit as end:
        status = int(end.code or 0)
    return status, capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTNING_LP_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)


def test_a_sound_machine(capsys):
    status, lines = call(capsys)
    assert status == 0
    assert all(line.startswith("OK   ") for line in lines)
    seen = [re.match(r"OK   ([^:]+): ", line)[1] for line in lines]
    assert {"python", "torch", "torch_geometric", "pytorch-lightning", "numba", "pandas"} <= set(seen)
    assert seen[-6:] == ["devices", "threads", "sampler", "numba cache", "data cache", "current folder"]


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        run(args=["doctor", "--help"])
    assert end.value.code == 0
    assert "whether this machine can train" in capsys.readouterr().out


def test_help_of_all_commands_names_it(capsys):
    with pytest.raises(SystemExit) as end:
        run(args=["--help"])
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert named == list(COMMANDS)


@pytest.mark.parametrize(
    ("args", "status"),
    [
        *((["--help"], 0), (["recomend"], 2)),
        *(
            ([name, "--help"], 0)
            for name in ("recommend", "export", "report", "new-users", "benchmark", "doctor", "serve")
        ),
        (["serve", "--host=0.0.0.0"], 2),
        *((["recommend", "--user=1", "--k=0"], 2), (["report", "--rum=x"], 2), (["benchmark", "--repeat=0"], 2)),
    ],
)
def test_what_needs_no_model_imports_none(args, status):
    told = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from lightning_lp.__main__ import run; run()"
    )
    ended = subprocess.run([sys.executable, "-c", told, *args], capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert not {"torch", "pandas", "matplotlib", "numba"} & set(ended.stdout.splitlines()[-1].split())


def problem(lines: list[str]) -> str:
    (line,) = (line for line in lines if line.startswith("FIX  "))
    return line


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3", "2.5.0", "3.0"])
def test_a_version_out_of_bounds(version, capsys, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "pytorch-lightning" else real(name))
    status, lines = call(capsys)
    assert status == 1
    assert f"pytorch-lightning: {version}" in problem(lines)
    assert "pip install 'pytorch-lightning" in problem(lines)


def test_a_package_that_is_missing(capsys, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name == "numba":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    status, lines = call(capsys)
    assert (status, "numba: missing" in problem(lines)) == (1, True)


def test_an_installation_that_cannot_be_imported(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    status, lines = call(capsys)
    assert status == 1
    assert any(line.startswith("FIX  devices: ModuleNotFoundError") for line in lines)
    assert any(line.startswith("OK   current folder") for line in lines), "one failing check hides the others"


def test_a_sampler_that_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr("lightning_lp.graph.sampler.LinkNeighborSampler._positions", lambda *args: {})
    status, lines = call(capsys)
    assert (status, "sampler: gives" in problem(lines)) == (1, True)


def test_more_threads_than_cores(capsys, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 10_000)
    status, lines = call(capsys)
    assert (status, "set OMP_NUM_THREADS=" in problem(lines)) == (1, True)


def test_little_room(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_FREE", 2**70)
    status, lines = call(capsys)
    assert status == 1
    assert "make room, or set LIGHTNING_LP_CACHE" in "\n".join(lines)


def test_a_folder_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    def refuse(**options: Path) -> object:
        if options["dir"] == tmp_path:
            raise PermissionError(13, "Permission denied")
        return real(**options)

    real = doctor.tempfile.TemporaryFile
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    status, lines = call(capsys)
    assert status == 1
    assert [line.split(":")[0] for line in lines if line.startswith("FIX")] == [
        "FIX  data cache",
        "FIX  current folder",
    ]


def test_starts_with_the_standard_library_alone(monkeypatch):
    """A machine without torch or pandas is what it is for."""
    real = builtins.__import__

    def only_standard(name: str, *args: object, **kwargs: object) -> object:
        assert name.split(".")[0] in sys.stdlib_module_names | {"lightning_lp"}
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "lightning_lp.commands.doctor")
    monkeypatch.setattr(builtins, "__import__", only_standard)
    __import__("lightning_lp.commands.doctor")
