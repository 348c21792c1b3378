"""Mutants of Python source: one rounding, clamp, sign or off-by-one changed at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = Callable[[ast.AST], ast.AST | None]

_COMPARISONS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
}
_OPERATORS: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Add(),
    ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Mult(),
    ast.Mod: ast.FloorDiv(),
}
#: Other roundings, written so that they need no import.
_FLOOR, _CEIL = "(lambda v: v.__floor__())", "(lambda v: v.__ceil__())"
_AWAY = "(lambda v: (abs(v) + Fraction(1, 2)).__floor__() * (1 if v > 0 else -1))"
#: Names of functions, and what is called in their place.
_CALLS = {
    "round_half_even": (_AWAY, _FLOOR, _CEIL),
    "round_half_away": ("round", _FLOOR, _CEIL),
    "round_first": (_FLOOR, _CEIL),
    "to_float32": ("float",),
    "min": ("max",),
    "max": ("min",),
}
#: Calls that are left out, their first argument taking their place.
_LIMITS = ("clamp", "np.clip", "abs", "_even", "_at_least")


@dataclass(frozen=True)
class Mutant:
    """One change to one file.

    Attributes:
        line: where, counted from 1.
        function: the function it is in, "" at the top of the file.
        before, after: the changed expression.
        source: the whole file, changed.
    """

    line: int
    function: str
    before: str
    after: str
    source: str


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        in_arithmetic = isinstance(node, (ast.BinOp, ast.Compare))
        for part in ast.iter_child_nodes(node):
            part.in_arithmetic = in_arithmetic  # type: ignore[attr-defined]
    found = [mutant for index, _ in _targets(tree) for mutant in _at(tree, index)]
    yield from sorted(found, key=lambda mutant: mutant.line)


def _targets(tree: ast.Module) -> Iterator[tuple[int, ast.AST]]:
    """Numbered nodes that are inside functions or values of constants, annotations left out."""
    left_out = {id(inner) for node in ast.walk(tree) for inner in _not_code(node)}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) not in left_out and hasattr(node, "lineno"):
            yield index, node


def _not_code(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, and what is at the top of a file: docstrings, imports, types, ``__all__``."""
    for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
        if part is not None:
            yield from ast.walk(part)
    if isinstance(node, ast.Assign) and isinstance(node.value, (ast.List, ast.Subscript)):
        yield from ast.walk(node)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        names = {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
        if "npt" in names:  # a union of types
            yield from ast.walk(node)


def _at(tree: ast.Module, index: int) -> Iterator[Mutant]:
    original = list(ast.walk(tree))[index]
    line = original.lineno  # type: ignore[attr-defined]
    for change in _changes(original):
        mutated = copy.deepcopy(tree)
        node = list(ast.walk(mutated))[index]
        before, after = ast.unparse(original), change(node)
        _put(mutated, node, after)
        source = ast.unparse(ast.fix_missing_locations(mutated))
        yield Mutant(line, _function_at(tree, line), before, ast.unparse(after), source)


def _function_at(tree: ast.Module, line: int) -> str:
    inside = (
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    )
    return next(inside, "")


def _put(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    if new is not old:
        Swap().visit(tree)


def _changes(node: ast.AST) -> Iterator[Callable[[ast.AST], ast.AST]]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in _COMPARISONS:
                yield lambda n, p=place, o=operator: _compare(n, p, _COMPARISONS[type(o)])
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield lambda n: _with(n, op=_OPERATORS[type(n.op)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda n: n.operand
    if isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield lambda n: _with(n, op=other)
    if isinstance(node, ast.IfExp):
        yield lambda n: _with(n, body=n.orelse, orelse=n.body)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield lambda n: ast.Constant(n.value + 1)
        # Axes and shapes: one step off is as wrong as the other.
        if getattr(node, "in_arithmetic", False):
            yield lambda n: ast.Constant(n.value - 1)
    if isinstance(node, ast.Call):
        yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[Callable[[ast.AST], ast.AST]]:
    name = ast.unparse(node.func)
    for other in _CALLS.get(name, ()):
        yield lambda n, o=other: _with(n, func=ast.parse(o, mode="eval").body)
    if name in _LIMITS:
        yield lambda n: n.args[0]


def _with(node: ast.AST, **changes: ast.AST) -> ast.AST:
    for field, value in changes.items():
        setattr(node, field, value)
    return node


def _compare(node: ast.AST, place: int, operator: ast.cmpop) -> ast.AST:
    assert isinstance(node, ast.Compare)
    node.ops[place] = operator
    return node
