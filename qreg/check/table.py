"""The table ``[tool.qreg]`` of a project, as text; the rest of its file is left alone."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qreg.errors import QregError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HEADER = re.compile(r"\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_OWN = re.compile(r"""tool\s*\.\s*["']?qreg["']?(\s*\..*)?$""")
_SKIPPED = {"tests", "test", "docs", "build", "dist", "node_modules", "venv"}


def table_text(
    model: str,
    dataset: str,
    methods: Sequence[str],
    *,
    task: str = "",
    weights: Path | None = None,
) -> str:
    """The table, as TOML; `weights` is a file that the model's are in."""
    models = _list([model])
    if weights is not None:
        models = f"[{{ factory = {json.dumps(model)}, weights = {json.dumps(str(weights))} }}]"
    lines = ["[tool.qreg]", f"models = {models}"]
    if dataset and task:
        source, named = json.dumps(dataset), json.dumps(task)
        lines.append(f"datasets = [{{ source = {source}, task = {named} }}]")
    elif dataset:
        lines.append(f"datasets = {_list([dataset])}")
    return "\n".join([*lines, f"methods = {_list(methods)}"]) + "\n"


def _list(names: Sequence[str]) -> str:
    # a JSON string without what lies outside of ASCII is a TOML string
    return "[" + ", ".join(json.dumps(name) for name in names) + "]"


def with_table(text: str, table: str, *, force: bool, path: object) -> str:
    """A pyproject.toml's text with this table at its end, in the place of one that was there.

    Raises:
        QregError: it has such a table and `force` is not set; or it is no TOML.
    """
    content = parsed(text, path)
    there = "qreg" in content.get("tool", {})
    if there and not force:
        raise QregError(
            f"{path} has a table [tool.qreg]", hint="edit it, or replace it with --force"
        )
    kept = "".join(_without_own(text)).rstrip() if there else text.rstrip()
    after = f"{kept}\n\n{table}" if kept else table
    content.get("tool", {}).pop("qreg", None)
    try:
        now = parsed(after, path)
        now["tool"].pop("qreg", None)
        same = {**now, "tool": now["tool"] or None} == {
            **content,
            "tool": content.get("tool") or None,
        }
    except QregError:  # a text of several lines has a line like a header, for example
        same = False
    if not same:
        raise QregError(f"{path}: its [tool.qreg] cannot be cut out", hint="replace it by hand")
    return after


def parsed(text: str, path: object) -> dict[str, Any]:
    """The content of a TOML text; `path` is named in errors.

    Raises:
        QregError: it is none.
    """
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise QregError(f"{path}: {error}", hint="it must be TOML") from error
    return found


def _without_own(text: str) -> Iterator[str]:
    own = False
    for line in text.splitlines(keepends=True):
        header = _HEADER.match(line)
        if header:
            own = bool(_OWN.match(header.group(1)))
        if not own:
            yield line


def factories(root: Path) -> tuple[str, ...]:
    """``module:factory`` of what looks like one, in the modules of a folder and of its ``src``.

    A class derived from a ``Module``, or a function that is said to return one, either of which
    can be called without arguments; or a function that ends with a ``Sequential``. Of a class and
    a function that makes it, the function. Nothing is imported.
    """
    found = []
    for folder in (root, root / "src"):
        for path in sorted((*folder.glob("*.py"), *folder.glob("*/*.py"))):
            parts = path.relative_to(folder).with_suffix("").parts
            hidden = any(part.startswith((".", "_", "test")) for part in parts)
            if not hidden and parts[0] not in (*_SKIPPED, "src", "conftest", "setup"):
                found += [f"{'.'.join(parts)}:{name}" for name in _defined(path)]
    return tuple(dict.fromkeys(found))


def _defined(path: Path) -> Iterator[str]:
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, UnicodeDecodeError):
        return
    classes = {node.name for node in body if isinstance(node, ast.ClassDef) and _is_module(node)}
    made: set[str] = set()
    functions = [n for n in body if isinstance(n, ast.FunctionDef) and not _needs(n.args, skip=0)]
    for node in functions:
        returns = ast.unparse(node.returns) if node.returns else ""
        calls = {ast.unparse(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}
        own = returns in classes or bool(calls & classes and _returns(node))
        if own or returns.endswith("Module") or "Sequential(" in ast.unparse(node.body[-1]):
            made |= calls & classes
            yield node.name
    for one in body:
        if isinstance(one, ast.ClassDef) and one.name in classes - made and not _needs_of(one):
            yield one.name


def _returns(node: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Return) and one.value for one in node.body)


def _is_module(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).rpartition(".")[2] == "Module" for base in node.bases)


def _needs_of(node: ast.ClassDef) -> bool:
    """Whether its constructor needs arguments."""
    made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    return any(_needs(one.args, skip=1) for one in made)


def _needs(arguments: ast.arguments, *, skip: int) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args) - skip - len(arguments.defaults)
    return positional > 0 or any(default is None for default in arguments.kw_defaults)
