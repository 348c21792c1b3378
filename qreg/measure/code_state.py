"""A digest of the code that is loaded: what has been patched in memory stands in no file."""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch

# What a case is made and run with. Compilers and tracers are left out: they fill their tables as
# they run, and nothing that is planted there reaches a result but through these.
_PACKAGES = ("torch.ao.", "torch.nn.", "torch.backends.", "qreg.")
_MODULES = ("torch", "torch.nn", "torch.ao", "torch.functional", "torch._tensor")
# Of qreg, what starts processes and shows their progress: it notes times as it goes.
_AROUND = ("qreg.processes.", "qreg.progress", "qreg.report.")
_SCALARS = (int, float, str, bytes, bool, type(None), torch.dtype, torch.qscheme, enum.Enum)
_DEEPEST = 4
_UNWATCHED = (ModuleType, dict, list, set, frozenset, torch.Tensor)


def watched_modules() -> tuple[str, ...]:
    """The loaded modules whose state counts, sorted."""
    loaded = (n for n in sys.modules if n in _MODULES or n.startswith(_PACKAGES))
    return tuple(sorted(n for n in loaded if not n.startswith(_AROUND)))


def code_state(modules: Iterable[str]) -> str:
    """sha256 of the functions, classes and plain values of these modules, as they are now.

    A function is its bytecode, constants, defaults and what it closes over; an object that holds
    some, such as a partial of an observer's class, is its fields. Tables are not looked into:
    importing fills them.
    """
    found = hashlib.sha256()
    for text in _lines(modules):
        found.update(text.encode("utf-8", "replace"))
    return found.hexdigest()


def _lines(modules: Iterable[str]) -> Iterator[str]:
    for name in modules:
        module = sys.modules.get(name)
        for key, value in sorted(vars(module).items()) if module is not None else ():
            if not key.startswith("__") and not isinstance(value, _UNWATCHED):
                yield f"{name}.{key}={_text(value, owner=name)}\n"


def function_state(function: Any) -> str:
    """The same of one function, or object that holds some."""
    return hashlib.sha256(_text(function, owner="").encode("utf-8", "replace")).hexdigest()


def _text(value: Any, *, owner: str, depth: int = 0) -> str:
    kind = type(value)
    if isinstance(value, _SCALARS):
        return f"{kind.__name__} {value!r}"
    if depth > _DEEPEST:
        return kind.__name__
    if isinstance(value, FunctionType):
        if owner and depth == 0 and value.__module__ != owner:
            return f"{value.__module__}.{value.__qualname__}"  # described where it is defined
        return _function(value, owner, depth)
    if isinstance(value, type):
        return _class(value, owner, depth)
    if isinstance(value, BuiltinFunctionType):
        return f"builtin {value.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__} {_held(value, owner, depth)}"


def _held(value: Any, owner: str, depth: int) -> str:
    """What an object holds of functions and plain values; not of tables and tensors."""
    if isinstance(value, (staticmethod, classmethod)):
        parts: Iterable[Any] = (value.__func__,)
    elif isinstance(value, property):
        parts = (value.fget, value.fset, value.fdel)
    elif isinstance(value, functools.partial):
        parts = (value.func, *value.args, *sorted(value.keywords.items()))
    elif isinstance(value, tuple):
        parts = value
    else:
        parts = _fields(value)
    return str([_text(one, owner=owner, depth=depth + 1) for one in parts])


def _fields(value: Any) -> list[tuple[str, Any]]:
    held = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or isinstance(value, (torch.Tensor, torch.nn.Module)):
        return []
    kinds = (*_SCALARS, FunctionType, type, functools.partial, tuple)
    return [(k, held[k]) for k in sorted(map(str, held)) if isinstance(held.get(k), kinds)]


def _class(value: type, owner: str, depth: int) -> str:
    name = f"class {value.__module__}.{value.__qualname__}"
    if value.__module__ != owner or depth > 1:
        return name
    members = sorted((str(k), v) for k, v in vars(value).items() if not _generated(str(k)))
    texts = [f"{k}={_text(v, owner=owner, depth=depth + 1)}" for k, v in members if _counts(v)]
    return f"{name} {texts}"


def _generated(name: str) -> bool:
    return name in ("__dict__", "__weakref__", "__doc__", "__abstractmethods__", "_abc_impl") or (
        name.startswith("__") and name.endswith("_hook__")
    )


def _counts(value: Any) -> bool:
    kinds = (*_SCALARS, FunctionType, staticmethod, classmethod, property, functools.partial)
    return isinstance(value, kinds)


def _function(value: FunctionType, owner: str, depth: int) -> str:
    given: list[Any] = [*(value.__defaults__ or ()), *sorted((value.__kwdefaults__ or {}).items())]
    for cell in value.__closure__ or ():
        with contextlib.suppress(ValueError):  # empty yet
            given.append(cell.cell_contents)
    held = [_text(one, owner=owner, depth=depth + 1) for one in given]
    return f"{value.__module__}.{value.__qualname__} {_code(value.__code__)} {held}"


@functools.cache
def _code(code: CodeType) -> str:
    found = hashlib.sha256(code.co_code)
    found.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for one in code.co_consts:
        found.update((_code(one) if isinstance(one, CodeType) else _constant(one)).encode())
    return found.hexdigest()


def _constant(value: Any) -> str:
    if isinstance(value, frozenset):  # in whatever order
        return str(sorted(map(repr, value)))
    return repr(value)
