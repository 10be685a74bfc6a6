"""The examples in docstrings give what they say, from nothing but what they import."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lightning_lp"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
NAMES = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name), globs={}, optionflags=doctest.REPORT_NDIFF)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_main_names_have_one():
    assert len(NAMES) >= 10
