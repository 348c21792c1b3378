"""Registries of named objects, resolved on demand.

An entry is the path ``package.module:object`` of the thing, so that listing names imports
nothing (``qreg --help`` must not import torch). Only the standard library may be imported here.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from qreg.errors import ContractError, UnknownNameError

T = TypeVar("T")

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_IN_LIBRARY = re.compile(r"[\w.-]+")


def is_object_path(name: str) -> bool:
    """Whether `name` has the form ``package.module:object``."""
    return _PATH.fullmatch(name) is not None


#: What marks the root of a project.
_ROOTS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")


def module_folders(start: Path) -> tuple[Path, ...]:
    """The folders searched for a user's modules: `start`, the project's root, and their ``src``."""
    start = Path(os.path.realpath(start))  # of links in a circle, `resolve` raises
    parents = (start, *start.parents)
    root = next((p for p in parents if any((p / name).exists() for name in _ROOTS)), start)
    found = dict.fromkeys((start, start / "src", root, root / "src"))
    return tuple(folder for folder in found if folder.is_dir())


def let_import(*folders: Path) -> None:
    """Let modules in these folders be imported, before installed ones of the same names.

    They come after the standard library, which a user's ``types.py`` must not replace.
    """
    given = [str(folder) for folder in folders]
    missing = [folder for folder in given if folder not in sys.path]
    installed = (n for n, entry in enumerate(sys.path) if entry.endswith(_INSTALLED))
    place = next(installed, len(sys.path))
    sys.path[place:place] = missing
    if missing:
        importlib.invalidate_caches()


_INSTALLED = ("site-packages", "dist-packages")


def import_object(path: str, *, kind: str) -> Any:
    """Import ``package.module:object``, also from the current folder and its project.

    Raises:
        ContractError: the module or the object in it does not exist.
    """
    module_name, _, attribute = path.partition(":")
    folders = module_folders(Path.cwd())
    let_import(*folders)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ContractError(
            f"{kind} '{path}': no module named '{error.name}' in {', '.join(map(str, folders))}",
            hint="install the package, or run from the folder that holds the module",
        ) from error
    if not hasattr(module, attribute):
        raise ContractError(
            f"{kind} '{path}': module '{module_name}' has no '{attribute}'",
            hint="give the name of a factory that the module defines",
        )
    return getattr(module, attribute)


def _itself(thing: T) -> T:
    return thing


class Registry(Generic[T]):
    """Names of one kind of object, each with its import path."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._paths: dict[str, str] = {}
        self._libraries: dict[str, str] = {}
        self._in_library: dict[str, re.Pattern[str]] = {}
        self._defined: dict[str, Callable[[], T]] = {}

    def register(self, name: str, path: str) -> None:
        """Add a name.

        Raises:
            ValueError: the name is taken, or the path is not ``package.module:object``.
        """
        if name in self._paths:
            raise ValueError(f"{self.kind} '{name}' is already registered")
        if not is_object_path(path):
            raise ValueError(f"{self.kind} '{name}': '{path}' is not package.module:object")
        self._paths[name] = path

    def register_library(
        self, prefix: str, path: str, *, names: re.Pattern[str] = _IN_LIBRARY
    ) -> None:
        """Add all names ``prefix:NAME``; a function at `path` returns what NAME stands for.

        Args:
            names: what NAME may be.
        """
        if not is_object_path(path) or prefix in self._libraries:
            raise ValueError(f"{self.kind} library '{prefix}': '{path}'")
        self._libraries[prefix], self._in_library[prefix] = path, names

    def define(self, definitions: Mapping[str, Callable[[], T]]) -> None:
        """Replace the project's own names; each is with a function that returns the thing."""
        self._defined = dict(definitions)

    def defines(self, name: str) -> bool:
        """Whether `name` is one of the project's own."""
        return name in self._defined

    @contextmanager
    def meaning(self, objects: Mapping[str, T]) -> Iterator[None]:
        """Let these names mean these objects meanwhile, whatever else they stand for."""
        before = self._defined
        self._defined = {**before, **{name: partial(_itself, x) for name, x in objects.items()}}
        try:
            yield
        finally:
            self._defined = before

    def registered(self, name: str) -> T:
        """What a registered name or an object path stands for, whatever the project defines."""
        found: T = import_object(self._paths.get(name, name), kind=self.kind)
        return found

    def names(self) -> tuple[str, ...]:
        """All registered names, in the order of registration."""
        return tuple(self._paths)

    def libraries(self) -> tuple[str, ...]:
        """The prefixes of the libraries."""
        return tuple(self._libraries)

    def knows(self, name: str) -> bool:
        """Whether `name` is registered, the project's, of a library, or an object path."""
        prefix, colon, rest = name.partition(":")
        library = self._in_library.get(prefix) if colon else None
        in_library = library is not None and library.fullmatch(rest)
        named = name in self._paths or name in self._defined
        return named or bool(in_library) or is_object_path(name)

    def check(self, name: str) -> str:
        """Return `name` if it is known.

        Raises:
            UnknownNameError: it is not.
        """
        if not self.knows(name):
            raise UnknownNameError(self.kind, name, (*self._paths, *self._defined))
        return name

    def get(self, name: str) -> T:
        """Import and return what `name` stands for."""
        self.check(name)
        if name in self._defined:
            return self._defined[name]()
        prefix, _, rest = name.partition(":")
        found: T
        if name not in self._paths and prefix in self._libraries:
            found = import_object(self._libraries[prefix], kind=self.kind)(rest)
        else:
            found = import_object(self._paths.get(name, name), kind=self.kind)
        return found
