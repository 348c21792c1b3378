"""Source code of functions of this package that runs without it, with imports and callees."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_OWN = "qreg"
Imported = tuple[str, str, str]  # module, object of it or "", name it is bound to


def snippet(functions: Sequence[Callable[..., Any]]) -> str:
    """The source of functions with the imports they need, ready to copy.

    Functions of this package that they call precede them.

    Raises:
        ValueError: one uses an object of this package that is neither a function nor a class.
    """
    sources: dict[str, str] = {}
    imports: set[Imported] = set()
    for function in functions:
        _collect(function, sources, imports)
    return "\n\n\n".join([_import_lines(imports), *sources.values()]) + "\n"


def call(function: Callable[..., Any]) -> str:
    """The call of a function: ``convert_fx_qat(trained)``."""
    return f"{function.__name__}({', '.join(inspect.signature(function).parameters)})"


def _collect(function: Any, sources: dict[str, str], imports: set[Imported]) -> None:
    if not (inspect.isfunction(function) or inspect.isclass(function)):
        raise ValueError(f"{function!r} is not a function")
    function = inspect.unwrap(function)
    if function.__name__ in sources:
        return
    module = inspect.getmodule(function)
    assert module is not None
    text = inspect.getsource(function)
    known = {bound: (name, of, bound) for name, of, bound in _imported(inspect.getsource(module))}
    for name in sorted(_names(ast.parse(text)) - {function.__name__}):
        origin = known.get(name)
        if origin and origin[0].partition(".")[0] != _OWN:
            imports.add(origin)
        elif origin or name in vars(module):
            _collect(getattr(module, name), sources, imports)
    sources[function.__name__] = text.rstrip()


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _imported(text: str) -> Iterator[Imported]:
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            yield from ((a.name, "", a.asname or a.name.partition(".")[0]) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, a.name, a.asname or a.name) for a in node.names)


def _import_lines(imports: set[Imported]) -> str:
    """Import lines, one per module, the standard library first."""
    groups: tuple[list[str], list[str]] = ([], [])
    for module in sorted({module for module, _, _ in imports}):
        third = module.partition(".")[0] not in sys.stdlib_module_names
        groups[third].extend(_lines(module, sorted(i for i in imports if i[0] == module)))
    for lines in groups:
        lines.sort(key=lambda line: line.startswith("from "))
    return "\n\n".join("\n".join(lines) for lines in groups if lines)


def _lines(module: str, imported: list[Imported]) -> Iterator[str]:
    if any(not of for _, of, _ in imported):
        yield f"import {module}"
    parts = [of if of == bound else f"{of} as {bound}" for _, of, bound in imported if of]
    if parts:
        yield f"from {module} import {', '.join(parts)}"
