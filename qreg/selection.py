"""From a project's settings to its cases, and to how they are measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qreg.data import DATASETS, define_datasets
from qreg.errors import UnknownNameError
from qreg.measure.options import Options
from qreg.models import MODELS, define_models
from qreg.quantization import METHODS
from qreg.quantization.engines import available_engines, check_engine, default_engine
from qreg.records.case import Case
from qreg.registry import Registry, is_object_path, let_import, module_folders
from qreg.settings import Settings, dataset_name, find_settings


def select_cases(
    settings: Settings,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    methods: Sequence[str] = (),
    engines: Sequence[str] = (),
) -> tuple[Case, ...]:
    """The settings' cases that these names leave; none leaves all of a kind.

    Raises:
        QregError: a name is neither in the settings nor registered.
    """
    use_project(settings)
    for registry, own in ((MODELS, settings.models), (METHODS, settings.methods)):
        for name in own:
            registry.check(name)
    known = [name for name, _ in dataset_sources(settings)]
    cases = gate_cases(
        _chosen(DATASETS, datasets, known),
        _chosen(MODELS, models, settings.models),
        _chosen(METHODS, methods, settings.methods),
        _engines(tuple(engines) or settings.engines),
    )
    if methods:
        return cases
    return tuple(case for case in cases if not _left_out(case, settings.leave_out))


def _left_out(case: Case, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(str(case), pattern) for pattern in patterns)


def use_project(settings: Settings) -> None:
    """Let names mean what the project says: its modules, models and datasets."""
    define_models(settings.definitions)
    define_datasets(settings.dataset_definitions)
    let_import(*module_folders(settings.root))


def project_settings() -> Settings:
    """What ``[tool.qreg]`` here says; without it, everything that is registered."""
    settings = find_settings(Path.cwd()) or Settings(
        root=Path.cwd(), models=MODELS.names(), datasets=DATASETS.names(), engines=("all",)
    )
    use_project(settings)
    return settings


def dataset_sources(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Each dataset's name, and where it is from: a registered name, an object, a path."""
    sources = []
    defined = {one.name for one in settings.dataset_definitions}
    for given in settings.datasets:
        if given in defined:
            sources.append((given, given))
            continue
        named = given in DATASETS.names() or is_object_path(given)
        source = given if named else os.fspath(settings.root / given)
        sources.append((given if named else dataset_name(given), source))
    return tuple(sources)


def gate_options(settings: Settings, given: Options | None = None) -> Options:
    """How a project's cases are measured: nothing is downloaded; the settings say what is open."""
    given = given or Options()
    return replace(
        given,
        data_dir=given.data_dir or settings.data_dir,
        checkpoints=given.checkpoints or settings.checkpoints,
        download=False,
        sources=given.sources or dataset_sources(settings),
    )


def _chosen(registry: Registry[Any], names: Sequence[str], own: Iterable[str]) -> tuple[str, ...]:
    own = tuple(own)
    for name in names:
        if name not in own and not registry.knows(name):
            known = dict.fromkeys((*own, *registry.names()))
            raise UnknownNameError(registry.kind, name, known)
    return tuple(names) or own


def _engines(names: tuple[str, ...]) -> tuple[str, ...]:
    if "all" in names:
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
