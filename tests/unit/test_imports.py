"""Who may import whom: read from the source, as docs/architecture.md states it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "qreg"
FILES = sorted(PACKAGE.rglob("*.py"))
#: What travels between the parts: the standard library, and one another.
RECORDS = ("qreg.records", "qreg.errors", "qreg.registry")
#: Rules: pure functions of records and numbers.
RULES = (
    "qreg.stats",
    "qreg.checks",
    "qreg.speed.compare",
    "qreg.upgrade.compare",
    "qreg.upgrade.matrix.rule",
    "qreg.migrate.rule",
    "qreg.diagnosis.rule",
    "qreg.check.rule",
    "qreg.budget.rule",
    "qreg.budget.verdict",
    "qreg.calibration.rule",
    "qreg.sensitivity.rule",
)
#: Nothing imports them.
TOPS = ("qreg.cli", "qreg.pytest_plugin", "qreg.__main__")


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import_time(tree: ast.Module) -> Iterator[str]:
    """Imports outside functions and outside ``if TYPE_CHECKING``."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


MODULES = {_module(path) for path in FILES}


def _is_record(name: str) -> bool:
    """A module of records: of all, or of one feature."""
    return any(_within(name, one) for one in RECORDS) or name.endswith(".records")


def _is_rule(name: str) -> bool:
    return any(_within(name, one) for one in RULES)


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_run_one_way(path: Path) -> None:
    """Records import records, rules import records and rules, and nothing imports the tops."""
    module, tree = _module(path), ast.parse(path.read_text())
    everything, early = set(_imports(tree)), set(_at_import_time(tree))
    thirds = {t for n in everything if (t := _top(n)) not in sys.stdlib_module_names}
    own = {name for name in everything if _top(name) == "qreg" and name in MODULES}
    if _is_record(module):
        assert thirds <= {"qreg"}
        assert all(_is_record(name) for name in own - {"qreg"})
    if _is_rule(module):
        assert thirds <= {"qreg", "numpy", "scipy"}
        assert all(_is_record(name) or _is_rule(name) for name in own - {"qreg"})
    if _within(module, "qreg.quantization.reference"):
        # The oracle judges torch: it may not ask it.
        assert thirds <= {"qreg", "numpy"}
        assert all(_within(name, "qreg.quantization.reference") for name in own)
    if ".report" in module or _within(module, "qreg.baselines"):
        assert "torch" not in thirds
        assert not any(_within(name, "qreg.measure") for name in own)
    if not any(_within(module, top) for top in TOPS):
        assert not any(_within(name, top) for name in own for top in TOPS)
    if not _within(module, "qreg.cli") and not _within(module, "qreg.faults"):
        assert not any(_within(name, "qreg.faults") for name in own)  # they reach no one's gate
    assert "torchvision" not in {_top(name) for name in early}


def test_there_is_no_circle() -> None:
    """Of imports at import time: each module comes after what it imports."""
    edges = {
        (module := _module(path)): {
            name
            for name in _at_import_time(ast.parse(path.read_text()))
            if name in MODULES and name != module
        }
        for path in FILES
    }
    list(TopologicalSorter(edges).static_order())


def test_the_root_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 30
