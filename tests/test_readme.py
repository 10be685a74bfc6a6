"""The README's promises name tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROMISES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in re.search(r"## What it promises\n\n(.*?)\n\n", TEXT, re.DOTALL)[1].splitlines()[2:]
]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_each_promise_names_tests_that_exist():
    assert len(PROMISES) > 10
    for promise, tests, _ in PROMISES:
        named = re.findall(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)", tests)
        assert named or "](benchmarks/mutation.md)" in tests, promise
        for name, file in named:
            assert name in functions(ROOT / file), (name, file)
        assert tests.count("`test_") == len(named), promise


def test_links_lead_somewhere():
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", TEXT, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target
