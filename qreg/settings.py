"""What a project says of itself: the table ``[tool.qreg]`` of its pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from qreg.errors import QregError, UnknownNameError
from qreg.models import MODELS
from qreg.models.source import ModelSource, source_name
from qreg.quantization import DEFAULT_METHODS
from qreg.records.case import file_part

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Settings:
    """The table's keys; '_' is written '-'.

    Attributes:
        root: the folder of pyproject.toml; paths are relative to it, and it is importable.
        models: registered names, ``package.module:factory``, or the names of definitions.
        datasets: registered names, folders, npz files or ``package.module:DATASET``.
        methods: registered names or ``package.module:method``; those that need no torchao
            unless said.
        engines: names; empty for the machine's default, ``all`` for all it has.
        leave_out: patterns of cases, ``cifar10/*/qat@*``, that stand back unless their method is
            asked for by name.
        baselines: a folder; ``baselines`` beside pyproject.toml unless said.
        checkpoints, data_dir: folders, None for the usual places.
        definitions: what the table says of models that it defines with arguments or weights.
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
    definitions: tuple[ModelSource, ...] = ()


_LISTS = ("datasets", "methods", "engines", "leave-out")
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


def find_settings(start: Path) -> Settings | None:
    """The settings of the project that a folder is in: the nearest table upwards, or None.

    Folders above the root of its git repository are not looked into.

    Raises: as `read_settings`.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        found = read_settings(folder / "pyproject.toml")
        if found is not None or (folder / ".git").exists():
            return found
    return None


_NOT_KEYS = ("root", "definitions")


def _settings(path: Path, table: dict[str, Any]) -> Settings:
    known = [f.name.replace("_", "-") for f in fields(Settings) if f.name not in _NOT_KEYS]
    for key in table:
        if key not in known:
            raise UnknownNameError("key of [tool.qreg]", key, known)
    if "models" not in table:
        hint = f'say which: models = ["package.module:factory"], or of {", ".join(MODELS.names())}'
        raise QregError(f"{path}: [tool.qreg] names no models", hint=hint)
    root = path.resolve().parent
    models, definitions = _models(path, table["models"], root)
    lists = {key.replace("-", "_"): _names(path, key, table[key]) for key in _LISTS if key in table}
    folders = {
        key.replace("-", "_"): root / _folder(path, key, table[key])
        for key in _FOLDERS
        if key in table
    }
    folders.setdefault("baselines", root / "baselines")
    _refuse_one_file(path, "models", models)
    if "datasets" in lists:
        _refuse_one_file(path, "datasets", map(dataset_name, lists["datasets"]), lists["datasets"])
    return Settings(root=root, models=models, definitions=definitions, **lists, **folders)  # type: ignore[arg-type]


def _models(
    path: Path, value: object, root: Path
) -> tuple[tuple[str, ...], tuple[ModelSource, ...]]:
    """The names of all models, and the definitions among them."""
    if not isinstance(value, list) or not value:
        raise QregError(f"{path}: [tool.qreg] models = {value!r}", hint="give a list of models")
    definitions = tuple(_definition(path, one, root) for one in value if isinstance(one, dict))
    named = iter(definitions)
    names = [next(named).name if isinstance(one, dict) else one for one in value]
    return _names(path, "models", names), definitions


_MODEL_HINT = '{ factory = "package.module:factory", name = "NAME", weights = "FILE", width = 32 }'


def _definition(path: Path, table: dict[str, Any], root: Path) -> ModelSource:
    arguments = dict(table)
    factory, weights = arguments.pop("factory", None), arguments.pop("weights", None)
    try:
        if not isinstance(factory, str) or not isinstance(weights, str | None):
            raise ValueError("factory and weights are text, and factory must be there")
        name = arguments.pop("name", None) or source_name(factory, arguments)
        return ModelSource(
            name=name,
            factory=MODELS.check(factory),
            arguments=tuple(sorted(arguments.items())),
            weights=root / weights if weights else None,
        )
    except (ValueError, TypeError) as error:
        raise QregError(
            f"{path}: [tool.qreg] models, {table}: {error}", hint=_MODEL_HINT
        ) from error


def dataset_name(given: str) -> str:
    """What the dataset of a name or a path is called; nothing is read for it."""
    path = Path(given)
    return path.stem if path.suffix == ".npz" else path.name


def _refuse_one_file(
    path: Path, key: str, names: Iterable[str], given: Iterable[str] | None = None
) -> None:
    """Refuse two names whose baselines would be the same file, on some file system at least."""
    names = tuple(names)
    taken: dict[str, str] = {}
    for name, text in zip(names, given or names, strict=True):
        part = file_part(name).casefold()
        if part in taken:
            raise QregError(
                f"{path}: [tool.qreg] {key}: '{taken[part]}' and '{text}' would have the same "
                f"baselines, {part}",
                hint="give one of them another name"
                if key == "models"
                else "rename one of the files: a dataset is called by the name of its file",
            )
        taken[part] = text


def _names(path: Path, key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise QregError(f"{path}: [tool.qreg] {key} = {value!r}", hint="give a list of names")


def _folder(path: Path, key: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise QregError(f"{path}: [tool.qreg] {key} = {value!r}", hint="give a folder")
