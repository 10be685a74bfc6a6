"""What may be installed: read from ``pyproject.toml`` and ``constraints.txt``."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
WANTED = {r.name: r for r in map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])}
PINNED = {r.name: r for r in map(Requirement, (ROOT / "constraints.txt").read_text().split())}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("malicious", ["2.6.2", "2.6.3"])
def test_malicious_releases_are_out_of_bounds(malicious):
    assert malicious not in WANTED["pytorch-lightning"].specifier
    assert "lightning" not in WANTED, "the other name of the same package would need the same bound"
    assert "2.6.6" in WANTED["pytorch-lightning"].specifier


def test_no_look_alikes_and_no_native_pyg():
    names = {normal(name) for name in WANTED | PINNED}
    assert not {name for name in names if name.startswith(("pyg-", "torch-s", "torch-cluster"))}


def test_every_requirement_is_bounded_below_and_pinned_within_its_bounds():
    pins = {normal(name): next(iter(pin.specifier)).version for name, pin in PINNED.items()}
    for name, requirement in WANTED.items():
        assert any(bound.operator == ">=" for bound in requirement.specifier), name
        assert requirement.url is None
        assert pins[normal(name)] in requirement.specifier, name
    assert all([bound.operator for bound in pin.specifier] == ["=="] for pin in PINNED.values())


def test_dev_has_what_the_other_extras_have():
    extras = PROJECT["optional-dependencies"]
    assert {line for lines in extras.values() for line in lines} == set(extras["dev"])


def test_every_file_of_the_package_is_in_the_wheel():
    package = ROOT / "lightning_lp"
    code = (".py", ".pyc", ".nbc", ".nbi")
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in code}
    declared = PYPROJECT["tool"]["setuptools"]["package-data"]["lightning_lp"]
    assert files == {path for pattern in declared for path in package.glob(pattern)} > {package / "py.typed"}
    assert all((path.parent / "__init__.py").is_file() for path in package.rglob("*.py"))
