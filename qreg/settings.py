"""What a project says of itself: the table ``[tool.qreg]`` of its pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from qreg.artifacts.names import FILE, is_file_name
from qreg.budget.table import read_budget, read_known_failures
from qreg.data import DATASETS
from qreg.data.draw import Draw
from qreg.data.source import DatasetSource
from qreg.errors import QregError, UnknownNameError
from qreg.files import read_regular, resolved
from qreg.models import MODELS
from qreg.models.source import ModelSource, source_name
from qreg.quantization import DEFAULT_METHODS
from qreg.quantization.keeping import canonical
from qreg.records.budget import NO_BUDGET, Budget, KnownFailure
from qreg.records.case import file_part
from qreg.registry import is_object_path

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
        datasets: registered names, folders, npz files, ``package.module:DATASET``, or the names
            of definitions.
        methods: registered names or ``package.module:method``; those that need no torchao
            unless said.
        engines: names; empty for the machine's default, ``all`` for all it has.
        leave_out: patterns of cases, ``cifar10/*/qat@*``, that stand back unless their method is
            asked for by name; those of any method, ``text/ecg_net/*``, unless all are.
        baselines: a folder; by default ``baselines`` next to pyproject.toml.
        checkpoints, data_dir: folders, None for the usual places.
        calibration, samples: how the calibration samples and the gate's are drawn from every
            dataset that does not say so itself; None for each dataset's own way.
        budget: what is allowed, by method or case.
        known_failures: cases whose failure is excused, until a date.
        cache: whether the gate skips cases that passed and of which nothing has changed.
        definitions: what the table says of models that it defines with arguments or weights.
        dataset_definitions: likewise of datasets: their task, transform, draws.
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
    calibration: Draw | None = None
    samples: Draw | None = None
    budget: Budget = NO_BUDGET
    known_failures: tuple[KnownFailure, ...] = ()
    cache: bool = False
    definitions: tuple[ModelSource, ...] = ()
    dataset_definitions: tuple[DatasetSource, ...] = ()


# Bytes of a pyproject.toml.
_MOST_BYTES = 1 << 22
# A pattern of a million characters takes seconds to be understood.
_MOST_CHARACTERS = 4096
_LISTS = ("methods", "engines", "leave-out")
_FOLDERS = ("baselines", "checkpoints", "data-dir")


def read_settings(path: Path) -> Settings | None:
    """The settings in a pyproject.toml; None where there is no file or no such table.

    Raises:
        QregError: an unknown key or a value of the wrong type.
    """
    return settings_of(path, read_toml(path))


def settings_of(path: Path, content: dict[str, Any]) -> Settings | None:
    """The settings in the content of a pyproject.toml, as `read_settings`."""
    table = content.get("tool", {})
    table = table.get("qreg") if isinstance(table, dict) else None
    if table is not None and not isinstance(table, dict):
        raise QregError(f"{path}: [tool.qreg] is {table!r:.60}", hint="give a table")
    if table is None:
        return None
    if longest := _longest(table):
        raise QregError(
            f"{path}: [tool.qreg] has a text of {longest} characters",
            hint=f"names, paths and patterns have at most {_MOST_CHARACTERS}",
        )
    return _settings(path, table)


def _longest(value: object) -> int:
    """Characters of the longest text in a table, keys too, where it is too long; else 0."""
    if isinstance(value, str):
        return len(value) if len(value) > _MOST_CHARACTERS else 0
    if isinstance(value, dict):
        return max(map(_longest, (*value, *value.values())), default=0)
    return max(map(_longest, value), default=0) if isinstance(value, list) else 0


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; nothing where there is none.

    Raises:
        QregError: it is no TOML, no file, or cannot be read.
    """
    try:
        found: dict[str, Any] = tomllib.loads(read_regular(path, most=_MOST_BYTES).decode())
        return found
    except FileNotFoundError:
        return {}
    except OSError as error:
        text = error.strerror or str(error)
        raise QregError(f"{path}: {text}", hint="it must be a file that may be read") from error
    except (ValueError, RecursionError) as error:
        raise QregError(f"{path}: {error}", hint="it must be TOML") from error


def find_settings(start: Path) -> Settings | None:
    """The settings of the project that a folder is in: the nearest table upwards, or None.

    Folders above the root of its git repository are not looked into.

    Raises: as `read_settings`.
    """
    start = resolved(start)
    for folder in (start, *start.parents):
        found = read_settings(folder / "pyproject.toml")
        if found is not None or (folder / ".git").exists():
            return found
    return None


_NOT_KEYS = ("root", "definitions", "dataset_definitions")
_DRAWS = ("calibration", "samples")


def _settings(path: Path, table: dict[str, Any]) -> Settings:
    known = [f.name.replace("_", "-") for f in fields(Settings) if f.name not in _NOT_KEYS]
    for key in table:
        if key not in known:
            raise UnknownNameError("key of [tool.qreg]", key, known)
    if "models" not in table:
        hint = f'say which: models = ["package.module:factory"], or of {", ".join(MODELS.names())}'
        raise QregError(f"{path}: [tool.qreg] names no models", hint=hint)
    root = resolved(path).parent
    models, definitions = _models(path, table["models"], root)
    lists = {key.replace("-", "_"): _names(path, key, table[key]) for key in _LISTS if key in table}
    if "methods" in lists:
        lists["methods"] = tuple(map(canonical, lists["methods"]))
    folders = {
        key.replace("-", "_"): root / _folder(path, key, table[key])
        for key in _FOLDERS
        if key in table
    }
    folders.setdefault("baselines", root / "baselines")
    _refuse_one_file(path, "models", models)
    draws = {key: _draw(path, key, table[key]) for key in _DRAWS if key in table}
    datasets, sources = _datasets(path, table.get("datasets", ["shapes10"]), root, draws)
    if not isinstance(cached := table.get("cache", False), bool):
        raise QregError(f"{path}: [tool.qreg] cache = {cached!r:.60}", hint="give true or false")
    where = f"{path}: [tool.qreg."
    budget = read_budget(table["budget"], f"{where}budget]") if "budget" in table else NO_BUDGET
    known_failures = read_known_failures(table.get("known-failures", {}), f"{where}known-failures]")
    return Settings(
        root=root,
        budget=budget,
        known_failures=known_failures,
        cache=cached,
        models=models,
        definitions=definitions,
        datasets=datasets,
        dataset_definitions=sources,
        **lists,  # type: ignore[arg-type]
        **folders,  # type: ignore[arg-type]
        **draws,  # type: ignore[arg-type]
    )


_DATASET_HINT = (
    '{ source = "photos", name = "NAME", task = "segmentation", transform = "package.module:f", '
    'calibration = { size = 512, draw = "stratified", seed = 0 }, samples = { size = 1000 } }'
)


def _datasets(
    path: Path, value: object, root: Path, draws: dict[str, Draw]
) -> tuple[tuple[str, ...], tuple[DatasetSource, ...]]:
    """The names of all datasets, and the definitions among them; all are, where a draw is said."""
    if not isinstance(value, list) or not value:
        raise QregError(f"{path}: [tool.qreg] datasets = {value!r}", hint="give a list of datasets")
    given = [{"source": one} if draws and isinstance(one, str) else one for one in value]
    made = [_dataset(path, one, root, draws) if isinstance(one, dict) else one for one in given]
    names = [one.name if isinstance(one, DatasetSource) else one for one in made]
    texts = _names(path, "datasets", names)
    _refuse_one_file(path, "datasets", map(dataset_name, texts), texts)
    return texts, tuple(one for one in made if isinstance(one, DatasetSource))


def _dataset(
    path: Path, table: dict[str, Any], root: Path, draws: dict[str, Draw]
) -> DatasetSource:
    arguments = dict(table)
    try:
        source = arguments.pop("source", None)
        if not isinstance(source, str):
            raise ValueError("source is text, and must be there")
        named = source in DATASETS.names() or is_object_path(source)
        name = arguments.pop("name", None) or (source if named else dataset_name(source))
        for key in ("mean", "std"):
            if key in arguments:
                red, green, blue = map(float, arguments[key])
                arguments[key] = (red, green, blue)
        for key in _DRAWS:
            if key in arguments:
                arguments[key] = _draw(path, key, arguments[key])
        where = source if named else str(root / source)
        return DatasetSource(name=name, source=where, **(draws | arguments))
    except (ValueError, TypeError) as error:
        raise QregError(
            f"{path}: [tool.qreg] datasets, {table}: {error}", hint=_DATASET_HINT
        ) from error


def _draw(path: Path, key: str, value: object) -> Draw:
    sizes = {"calibration": 512, "samples": 1000}
    try:
        if not isinstance(value, dict):
            raise TypeError("not a table")
        given = {"size": sizes[key]} | {("how" if k == "draw" else k): v for k, v in value.items()}
        if any(type(given[k]) is not int for k in ("size", "seed") if k in given):
            raise TypeError("size and seed are whole numbers")
        return Draw(**given)
    except TypeError as error:
        raise QregError(
            f"{path}: [tool.qreg] {key} = {value!r}: {error}",
            hint='give { size = 512, draw = "stratified", seed = 0 }',
        ) from error


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


def _files(value: object) -> tuple[str, ...]:
    """The methods that stand for a model's delivered files."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise TypeError("files is a list of paths")
    return tuple(one if is_file_name(one) else f"{FILE}:{one}" for one in value)


_MODEL_HINT = (
    '{ factory = "package.module:factory", name = "NAME", weights = "FILE", width = 32 } or '
    '{ file = "net.onnx", name = "NAME", files = ["net_int8.onnx"] }'
)


def _definition(path: Path, table: dict[str, Any], root: Path) -> ModelSource:
    arguments = dict(table)
    factory, weights = arguments.pop("factory", None), arguments.pop("weights", None)
    try:
        if factory is None and (file := arguments.pop("file", None)):
            factory = f"{FILE}:{file}"
        files = _files(arguments.pop("files", ()))
        if not isinstance(factory, str) or not isinstance(weights, str | None):
            raise ValueError("factory and weights are text, and factory must be there")
        name = arguments.pop("name", None) or source_name(factory, arguments)
        return ModelSource(
            name=name,
            factory=MODELS.check(factory),
            arguments=tuple(sorted(arguments.items())),
            weights=root / weights if weights else None,
            files=files,
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
