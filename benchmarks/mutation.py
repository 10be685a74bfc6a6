"""Mutation testing: changes the package in one small place after another and asks whether a test notices.

    python benchmarks/mutation.py [--minutes 25] [FILE ...]

Each mutant lives in a fork of this process alone: nothing on disk is changed, and torch is imported once. Prints a
line for each mutant that no test notices, and the counts of each file.
"""

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import Phase, settings

ROOT = Path(__file__).parents[1]
TARGETS = {
    "lightning_lp/escape.py": ["tests/test_escape.py"],
    "lightning_lp/data/sources/archives.py": ["tests/data/test_download.py"],
    "lightning_lp/data/state.py": ["tests/data/test_state.py"],
    "lightning_lp/graph/split.py": ["tests/graph"],
    "lightning_lp/graph/strategies.py": ["tests/graph/test_split.py"],
    "lightning_lp/graph/non_links.py": ["tests/graph"],
    "lightning_lp/graph/members.py": ["tests/graph"],
    "lightning_lp/graph/links.py": ["tests/graph"],
    "lightning_lp/graph/labels.py": ["tests/graph/test_split.py", "tests/graph/test_non_links.py"],
    "lightning_lp/graph/non_links_of_source.py": ["tests/graph/test_non_links.py"],
    "lightning_lp/graph/ties.py": ["tests/graph/test_non_links.py"],
    "lightning_lp/graph/sequences.py": ["tests/graph/test_sequences.py"],
    "lightning_lp/graph/order.py": ["tests/graph/test_order.py"],
    "lightning_lp/graph/sampler.py": ["tests/graph/test_sampler.py", "tests/graph/test_temporal.py"],
    "lightning_lp/graph/csc.py": ["tests/graph/test_sampler.py", "tests/graph/test_temporal.py"],
    "lightning_lp/graph/expansion.py": ["tests/graph/test_sampler.py"],
    "lightning_lp/graph/temporal.py": ["tests/graph/test_temporal.py"],
    "lightning_lp/graph/negatives.py": ["tests/graph/test_sampler.py", "tests/graph/test_temporal.py"],
    "lightning_lp/graph/draws.py": ["tests/graph/test_sampler.py", "tests/graph/test_temporal.py"],
    "lightning_lp/graph/loader.py": ["tests/graph/test_loader.py"],
    "lightning_lp/graph/messages.py": ["tests/model/test_embed.py", "tests/model/test_history.py"],
    "lightning_lp/model/scores.py": ["tests/model/test_scores.py", "tests/model/test_losses.py"],
    "lightning_lp/model/rolling.py": ["tests/model/test_rolling.py"],
    "lightning_lp/evaluation/ranking.py": [
        "tests/evaluation/test_ranking.py",
        "tests/evaluation/test_ranking_callback.py",
    ],
    "lightning_lp/evaluation/ranking_task.py": ["tests/evaluation/test_ranking.py", "tests/evaluation/test_queries.py"],
    "lightning_lp/evaluation/queries.py": ["tests/evaluation/test_queries.py"],
    "lightning_lp/evaluation/label_metrics.py": ["tests/evaluation/test_label_metrics.py"],
    "lightning_lp/recommend/topk.py": ["tests/test_recommend.py", "tests/test_export.py"],
    "lightning_lp/recommend/recommender.py": ["tests/test_recommend.py"],
    "lightning_lp/recommend/histories.py": ["tests/test_recommend_now.py"],
}
HEAVY = "torch torch_geometric.loader pytorch_lightning torchmetrics pandas pyarrow.csv sklearn.metrics"
LIMIT = 60  # seconds for the tests of one mutant: one that loops for ever is noticed, too

_SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
}
_NO_CODE = {"annotation", "returns", "decorator_list", "exc", "type_params", "bases"}


class Mutator(ast.NodeTransformer):
    """Counts the places that can be changed, and changes the one with number ``target``."""

    def __init__(self, target: int = -1) -> None:
        self.target, self.count, self.change = target, 0, ""

    def _is_target(self, node: ast.AST, change: str) -> bool:
        self.count += 1
        if self.count - 1 != self.target:
            return False
        self.change = f"line {getattr(node, 'lineno', 0)}: {change}"
        return True

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visits what is executed, not annotations, decorators and messages of errors."""
        hidden = {name: getattr(node, name) for name in _NO_CODE if getattr(node, name, None) is not None}
        for name, value in hidden.items():
            setattr(node, name, [] if isinstance(value, list) else None)
        super().generic_visit(node)
        for name, value in hidden.items():
            setattr(node, name, value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Leaves texts alone."""
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Another operator."""
        return self._swapped(node, "op")

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Another operator."""
        return self._swapped(node, "op")

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Another operator."""
        return self._swapped(node, "op")

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Another comparison."""
        for i, op in enumerate(node.ops):
            new = _SWAPS[type(op)]
            if self._is_target(node, f"{ast.unparse(node)}: {type(op).__name__} -> {new.__name__}"):
                node.ops[i] = new()
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """No operator."""
        if self._is_target(node, f"{ast.unparse(node)}: without the sign"):
            return node.operand
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """One more, or the contrary."""
        if isinstance(node.value, bool | int | float):
            new = not node.value if isinstance(node.value, bool) else node.value + 1
            if self._is_target(node, f"{node.value} -> {new}"):
                return ast.copy_location(ast.Constant(new), node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """No call."""
        is_call = isinstance(node.value, ast.Call)
        if is_call and self._is_target(node, f"{ast.unparse(node)}: left out"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def _swapped(self, node: ast.BinOp | ast.AugAssign | ast.BoolOp, name: str) -> ast.AST:
        new = _SWAPS.get(type(node.op))
        if new and self._is_target(node, f"{ast.unparse(node)}: {type(node.op).__name__} -> {new.__name__}"):
            node.op = new()
        return self.generic_visit(node)


class _Mutant(importlib.machinery.SourceFileLoader):
    """Loads the changed module in place of the file's."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self.tree = tree

    def get_code(self, fullname: str) -> object:
        return compile(ast.fix_missing_locations(self.tree), self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, loader: _Mutant) -> None:
        self.loader = loader

    def find_spec(self, fullname: str, path: object, target: object = None) -> object:
        if fullname != self.loader.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


def notices(path: Path, tree: ast.Module, tests: list[str]) -> bool:
    """Whether the tests fail with this module in a fork of this process."""
    if (child := os.fork()) == 0:
        try:
            signal.alarm(LIMIT)
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            sys.meta_path.insert(0, _Finder(_Mutant(name, str(path), tree)))
            import pytest

            early = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported already
            status = pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *early, *tests])
        except BaseException:
            status = 1
        os._exit(int(status))
    return os.waitpid(child, 0)[1] != 0


def mutants(source: str, chance: random.Random) -> Iterator[tuple[ast.Module, str]]:
    """Every mutant of a module and its description, in random order."""
    counter = Mutator()
    counter.visit(ast.parse(source))
    for target in chance.sample(range(counter.count), counter.count):
        mutator = Mutator(target)
        yield mutator.visit(ast.parse(source)), mutator.change


def main() -> None:
    """Tries the mutants of each file, as far as the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", default=list(TARGETS), help="default: all of TARGETS")
    parser.add_argument("--minutes", type=float, default=25.0, help="for all files together (default: 25)")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # A failure is enough: the smallest one takes a minute to find.
    settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], derandomize=True)
    settings.load_profile("mutation")
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.mkdtemp()  # failures of mutants are of no later use
    for module in HEAVY.split():
        importlib.import_module(module)
    end = time.monotonic() + 60 * options.minutes
    for i, file in enumerate(options.files):
        share, counts = (end - time.monotonic()) / (len(options.files) - i), Counter[str]()
        path, stop = ROOT / file, time.monotonic() + share
        source = path.read_text()
        if notices(path, ast.parse(source), TARGETS[file]):
            sys.exit(f"{file}: its tests fail without a mutant")
        for tree, change in mutants(source, random.Random(0)):
            if time.monotonic() > stop:
                counts["not tried"] += 1
                continue
            killed = notices(path, tree, TARGETS[file])
            counts["killed" if killed else "survived"] += 1
            if not killed:
                print(f"survived  {file} {change}", flush=True)
        print(f"{file}: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
