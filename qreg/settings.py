"""What a project says of itself: the table ``[tool.qreg]`` of its pyproject.toml."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from qreg.errors import QregError, UnknownNameError
from qreg.models import MODELS
from qreg.quantization import DEFAULT_METHODS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Settings:
    """The table's keys; '_' is written '-'.

    Attributes:
        root: the folder of pyproject.toml; paths are relative to it, and it is importable.
        models: registered names or ``package.module:factory``.
        datasets: registered names, folders, npz files or ``package.module:DATASET``.
        methods: registered names or ``package.module:method``; those that need no torchao
            unless said.
        engines: names; empty for the machine's default, ``all`` for all it has.
        leave_out: patterns of cases, ``cifar10/*/qat@*``, that stand back unless their method is
            asked for by name.
        baselines: a folder; ``baselines`` beside pyproject.toml unless said.
        checkpoints, data_dir: folders, None for the usual places.
    """

    root: Path
    models: tuple[str, ...]
    datasets: tuple[str, ...] = ("shapes10",)
    methods: tuple[str, ...] = DEFAULT_METHODS
    engines: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    baselines: Path | None = None
    checkpoints: Path | None = None
    data_dir: Path | None = None


_LISTS = ("models", "datasets", "methods", "engines", "leave-out")
_FOLDERS = ("baselines", "checkpoints", "data-dir")


def read_settings(path: Path) -> Settings | None:
    """The settings in a pyproject.toml; None where there is no file or no such table.

    Raises:
        QregError: an unknown key or a value of the wrong type.
    """
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("qreg")
    except tomllib.TOMLDecodeError as error:
        raise QregError(f"{path}: {error}", hint="it must be TOML") from error
    return None if table is None else _settings(path, table)


def _settings(path: Path, table: dict[str, Any]) -> Settings:
    known = [field.name.replace("_", "-") for field in fields(Settings) if field.name != "root"]
    for key in table:
        if key not in known:
            raise UnknownNameError("key of [tool.qreg]", key, known)
    if "models" not in table:
        hint = f'say which: models = ["package.module:factory"], or of {", ".join(MODELS.names())}'
        raise QregError(f"{path}: [tool.qreg] names no models", hint=hint)
    root = path.resolve().parent
    lists = {key.replace("-", "_"): _names(path, key, table[key]) for key in _LISTS if key in table}
    folders = {
        key.replace("-", "_"): root / _folder(path, key, table[key])
        for key in _FOLDERS
        if key in table
    }
    folders.setdefault("baselines", root / "baselines")
    return Settings(root=root, **lists, **folders)  # type: ignore[arg-type]


def _names(path: Path, key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise QregError(f"{path}: [tool.qreg] {key} = {value!r}", hint="give a list of names")


def _folder(path: Path, key: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise QregError(f"{path}: [tool.qreg] {key} = {value!r}", hint="give a folder")
