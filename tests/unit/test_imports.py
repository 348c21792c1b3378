"""Who may import whom: read from the source, as docs/architecture.md states it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "qreg"
FILES = sorted(PACKAGE.rglob("*.py"))
FOUNDATION = {
    f"qreg.{name}"
    for name in (
        "records",
        "observations",
        "numerics",
        "judgements",
        "migrations",
        "approvals",
        "timings",
        "upgrades",
        "causes",
        "errors",
        "registry",
    )
}


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


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_run_one_way(path: Path) -> None:
    module, tree = _module(path), ast.parse(path.read_text())
    everything, early = set(_imports(tree)), set(_at_import_time(tree))
    thirds = {t for n in everything if (t := _top(n)) not in sys.stdlib_module_names}
    own = {name for name in everything if _top(name) == "qreg"}
    if module in FOUNDATION:
        assert thirds <= {"qreg"}
        assert all(any(_within(name, f) for f in FOUNDATION) for name in own)
    if _within(module, "qreg.compare"):
        assert thirds <= {"qreg", "numpy", "scipy"}
        allowed = (*FOUNDATION, "qreg.compare")
        assert all(any(_within(name, a) for a in allowed) for name in own)
    if _within(module, "qreg.quantization.reference"):
        # The oracle judges torch: it may not ask it.
        assert thirds <= {"qreg", "numpy"}
        assert all(_within(name, "qreg.quantization.reference") for name in own)
    if _within(module, "qreg.report") or _within(module, "qreg.baselines"):
        assert "torch" not in thirds
        assert not any(_within(name, "qreg.measure") for name in own)
    if not _within(module, "qreg.cli") and module not in ("qreg.pytest_plugin", "qreg.__main__"):
        assert not any(_within(name, "qreg.cli") for name in own)
        assert not any(_within(name, "qreg.pytest_plugin") for name in own)
    if not _within(module, "qreg.cli") and not _within(module, "qreg.faults"):
        # Faults reach no one's gate; their tables are of records alone.
        of_faults = {name for name in own if _within(name, "qreg.faults")}
        in_report = "qreg.faults.results" if _within(module, "qreg.report") else "nothing"
        assert all(n == "qreg.faults" or _within(n, in_report) for n in of_faults)
    if module == "qreg.faults.results":
        assert thirds <= {"qreg"}
    assert "torchvision" not in {_top(name) for name in early}


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 30
