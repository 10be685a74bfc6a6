"""Nothing imports against the flow: each room of the package knows those before it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lightning_lp"
FOR_ALL = ("errors", "escape", "atomic", "plain", "renamed")
FLOW = (
    *("graph", "data.schema", "data.files", "data.sources", "data", "model", "evaluation"),
    *("checkpointing", "callbacks", "recommend", "serve", "commands"),
)


def place(module: str) -> int:
    """Where a module stands in the flow: what all may import before it, ``__main__`` and the like behind it."""
    rooms = (i for i, room in enumerate((*FOR_ALL, *FLOW, "")) if f"{module}.".startswith(f"{room}.") or not room)
    return max(next(rooms) - len(FOR_ALL), -1)


def imported(path: Path) -> set[str]:
    """What a module imports of the package, at its head and within functions."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("lightning_lp.") for name in found if name.startswith("lightning_lp.")}


def test_nothing_imports_against_the_flow():
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        against = {other for other in imported(path) if place(other) > place(module)}
        assert not against, f"{module} imports {against}"
