"""Where a case comes from, for a reviewer: the line of its model's factory, or of the table.

Files are read as text; nothing of the project is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.records.case import Case

if TYPE_CHECKING:
    from qreg.settings import Settings

_FILE = "pyproject.toml"


@dataclass(frozen=True)
class Location:
    """A line of a file; the path is relative to the repository, with ``/``."""

    file: str
    line: int


def case_location(case: Case, settings: Settings) -> Location:
    """The line of the model's factory in the project; else that of the table that names it."""
    factories = {one.name: one.factory for one in settings.definitions}
    factory = factories.get(case.model, case.model)
    module, _, name = factory.partition(":")
    for file in _modules(settings.root, module) if name else ():
        if line := _definition(file, name):
            return Location(_relative(file, settings.root), line)
    table = settings.root / _FILE
    return Location(_relative(table, settings.root), _named(table, case.model, factory))


def _modules(root: Path, module: str) -> Iterator[Path]:
    """The files that may be a module of the project."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return
    for folder in (root, root / "src"):
        path = folder.joinpath(*parts)
        yield from (one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file())


@lru_cache(maxsize=64)
def _definition(file: Path, name: str) -> int:
    """The line where a module defines a name; 0 where it does not, or is no Python."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node.lineno
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(one, ast.Name) and one.id == name for one in targets):
            return node.lineno
    return 0


@lru_cache(maxsize=64)
def _named(table: Path, *names: str) -> int:
    """The first line that has one of the names in quotes; else that of the table; else 1."""
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return 1
    quoted = [re.compile(rf"[\"']{re.escape(name)}[\"']") for name in names]
    patterns = (*quoted, re.compile(r"^\s*\[tool\.qreg\]"))
    for pattern in patterns:
        for number, line in enumerate(lines, 1):
            if pattern.search(line):
                return number
    return 1


def _relative(file: Path, root: Path) -> str:
    """The path from the top of the repository that the project is in, or from the project."""
    top = next((one for one in (root, *root.parents) if (one / ".git").exists()), root)
    return file.resolve().relative_to(top.resolve()).as_posix()
