"""From a project's settings to its cases, and to how they are measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.data import DATASETS, get_dataset
from qreg.errors import UnknownNameError
from qreg.models import MODELS
from qreg.quantization import METHODS
from qreg.quantization.engines import available_engines, check_engine, default_engine
from qreg.records.case import Case
from qreg.registry import is_object_path, let_import, module_folders
from qreg.settings import Settings

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case


def select_cases(
    settings: Settings,
    *,
    datasets: str = "",
    models: str = "",
    methods: str = "",
    engines: str = "",
) -> tuple[Case, ...]:
    """The settings' cases that these comma-separated names leave; "" leaves all of a kind.

    Raises:
        QregError: a name is neither in the settings nor registered.
    """
    make_importable(settings)
    for registry, own in ((MODELS, settings.models), (METHODS, settings.methods)):
        for name in own:
            registry.check(name)
    known = [name for name, _ in dataset_sources(settings)]
    chosen_engines = split_names(engines) or settings.engines
    cases = gate_cases(
        _chosen("dataset", datasets, known, DATASETS.names()),
        _chosen("model", models, settings.models, MODELS.names()),
        _chosen("method", methods, settings.methods, METHODS.names()),
        _engines(chosen_engines),
    )
    if split_names(methods):
        return cases
    return tuple(case for case in cases if not _left_out(case, settings.leave_out))


def _left_out(case: Case, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(str(case), pattern) for pattern in patterns)


def make_importable(settings: Settings) -> None:
    """Let ``package.module:factory`` name what lies beside pyproject.toml, or in its ``src``."""
    let_import(*module_folders(settings.root))


def dataset_sources(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Each dataset's name, and where it is from: a registered name, an object, a path."""
    sources = []
    for given in settings.datasets:
        named = given in DATASETS.names() or is_object_path(given)
        source = given if named else os.fspath(settings.root / given)
        sources.append((given if named else get_dataset(source).name, source))
    return tuple(sources)


def gate_options(
    settings: Settings, *, data_dir: Path | None = None, checkpoints: Path | None = None
) -> Options:
    """How the gate measures: nothing is downloaded."""
    from qreg.measure.options import Options
    from qreg.training.checkpoints import checkpoint_folders

    return Options(
        folders=checkpoint_folders(checkpoints or settings.checkpoints),
        data_dir=data_dir or settings.data_dir,
        download=False,
        sources=dataset_sources(settings),
    )


def split_names(names: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _chosen(
    kind: str, names: str, own: Iterable[str], registered: Iterable[str]
) -> tuple[str, ...]:
    known = dict.fromkeys((*own, *registered))
    for name in split_names(names):
        if name not in known and not is_object_path(name):
            raise UnknownNameError(kind, name, known)
    return split_names(names) or tuple(own)


def _engines(names: tuple[str, ...]) -> tuple[str, ...]:
    if names == ("all",):
        return available_engines()
    return tuple(check_engine(name) for name in names) or (default_engine(),)


def gate_cases(
    datasets: Iterable[str],
    models: Sequence[str],
    methods: Sequence[str],
    engines: Sequence[str],
) -> tuple[Case, ...]:
    """Every dataset x model x method x engine, fp32 first in each group of one model."""
    ordered = [*(m for m in methods if m == "fp32"), *(m for m in methods if m != "fp32")]
    return tuple(
        Case(dataset, model, method, engine)
        for dataset in datasets
        for model in models
        for engine in engines
        for method in ordered
    )
