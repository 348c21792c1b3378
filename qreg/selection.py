"""The cases of a project's settings, and their measurement options."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qreg.artifacts.names import search_in
from qreg.budget.table import check_patterns
from qreg.data import DATASETS, define_datasets
from qreg.errors import UnknownNameError
from qreg.measure.options import Options
from qreg.models import MODELS, define_models
from qreg.models.source import ModelSource
from qreg.quantization import METHODS
from qreg.quantization.engines import (
    ALL_ENGINES,
    ENGINES,
    available_engines,
    check_engine,
    default_engine,
    engines_for,
)
from qreg.records.case import Case
from qreg.registry import Registry, is_object_path, let_import, module_folders
from qreg.settings import Settings, dataset_name, find_settings

_GLOB = re.compile(r"[*?\[]")


def select_cases(
    settings: Settings,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    methods: Sequence[str] = (),
    engines: Sequence[str] = (),
) -> tuple[Case, ...]:
    """The settings' cases that match these names; no names of a kind match all.

    Raises:
        QregError: a name is neither in the settings nor registered.
    """
    use_project(settings)
    for registry, own in ((MODELS, settings.models), (METHODS, _all_methods(settings))):
        for name in own:
            registry.check(name)
    known = [name for name, _ in dataset_sources(settings)]
    chosen = _chosen(METHODS, methods, _all_methods(settings))
    cases = tuple(
        case
        for dataset in _chosen(DATASETS, datasets, known)
        for model in _chosen(MODELS, models, settings.models)
        for case in gate_cases(
            (dataset,),
            (model,),
            _methods_of(model, chosen, settings),
            _engines(tuple(engines) or settings.engines),
        )
    )
    named = bool(methods), bool(methods and datasets and models)
    return tuple(case for case in cases if not _left_out(case, settings.leave_out, *named))


def check_budget(settings: Settings) -> None:
    """Refuse patterns of the budget and of known failures that fit none of the project's cases.

    Raises:
        QregError: with the pattern.
    """
    cases = gate_cases(
        [name for name, _ in dataset_sources(settings)],
        settings.models,
        _all_methods(settings),
        ENGINES,
    )
    budget, known = settings.budget.patterns, settings.known_failures
    check_patterns((name for name, _ in budget), cases, "[tool.qreg.budget]")
    check_patterns((one.pattern for one in known), cases, "[tool.qreg.known-failures]")


@dataclass(frozen=True)
class CaseChoice:
    """Which of a project's cases are meant, by the names of each kind; none stands for all."""

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether it names anything."""
        return any((self.datasets, self.models, self.methods, self.engines))

    def cases(self, settings: Settings) -> tuple[Case, ...]:
        """The project's cases that are meant.

        Raises:
            UnknownNameError: a name is unknown.
        """
        return select_cases(
            settings,
            datasets=self.datasets,
            models=self.models,
            methods=self.methods,
            engines=self.engines,
        )


def _all_methods(settings: Settings) -> tuple[str, ...]:
    """The project's methods, and the files of its models."""
    files = (file for one in settings.definitions for file in one.files)
    return tuple(dict.fromkeys((*settings.methods, *files)))


def _methods_of(model: str, chosen: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The chosen methods without files that are other models' alone."""
    files = {one.name: one.files for one in settings.definitions}
    others = {file for name, given in files.items() if name != model for file in given}
    others -= {*files.get(model, ()), *settings.methods}
    return tuple(method for method in chosen if method not in others)


def _left_out(case: Case, patterns: Iterable[str], method_named: bool, all_named: bool) -> bool:
    """Whether a pattern leaves it out. One of any method is about a model and a dataset."""
    any_method = str(replace(case, method="\0", engine="\0"))
    return any(
        fnmatchcase(str(case), pattern)
        and not (all_named if fnmatchcase(any_method, pattern) else method_named)
        for pattern in patterns
    )


#: Files of weights, by model, in place of those that the project's definitions name.
_BROUGHT: dict[str, Path] = {}


def bring_weights(files: Mapping[str, Path]) -> None:
    """Let these models, and no others, have the weights of files, whatever the project says.

    From the next `use_project` on.
    """
    _BROUGHT.clear()
    _BROUGHT.update(files)


def models_with_weights() -> tuple[tuple[str, str], ...]:
    """The models with weights of files, and the files; see `bring_weights`."""
    return tuple((model, os.fspath(file)) for model, file in _BROUGHT.items())


def with_weights(definitions: Sequence[ModelSource]) -> tuple[ModelSource, ...]:
    """The definitions, with the weights that were brought."""
    named = {one.name: one for one in definitions}
    for model, file in _BROUGHT.items():
        named[model] = replace(named.get(model, ModelSource(model, model)), weights=file)
    return tuple(named.values())


def use_project(settings: Settings) -> None:
    """Let names mean what the project says: its modules, models and datasets."""
    search_in(settings.root)
    define_models(with_weights(settings.definitions))
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


def project_checkpoints(settings: Settings) -> Path | None:
    """The project's folder of checkpoints, from any folder in it; None for the usual places.

    What is in the working folder, or in ``QREG_CHECKPOINTS``, comes before what the table does not
    name.
    """
    usual = Path("baselines", "checkpoints")
    found = settings.root / usual
    if settings.checkpoints or os.environ.get("QREG_CHECKPOINTS") or usual.is_dir():
        return settings.checkpoints
    return None if found == usual.absolute() else found


def gate_options(settings: Settings, given: Options | None = None) -> Options:
    """How a project's cases are measured: nothing is downloaded; the settings say what is open."""
    given = given or Options()
    return replace(
        given,
        data_dir=given.data_dir or settings.data_dir,
        checkpoints=given.checkpoints or project_checkpoints(settings),
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
    measured = {method: engines_for(METHODS.info(method), engines) for method in ordered}
    all_engines = dict.fromkeys((*engines, *(one for each in measured.values() for one in each)))
    return tuple(
        Case(dataset, model, method, engine)
        for dataset in datasets
        for model in models
        for engine in all_engines
        for method in ordered
        if engine in measured[method]
    )


def is_known(case: Case, settings: Settings) -> bool:
    """Whether all its names are registered, the project's, or a user's own."""
    own = (name for name, _ in dataset_sources(settings))
    dataset = case.dataset in own or DATASETS.knows(case.dataset)
    named = dataset and MODELS.knows(case.model) and METHODS.knows(case.method)
    return named and case.engine in ALL_ENGINES


def may_run(case: Case, settings: Settings) -> bool:
    """Whether a case that only a file names may be run: its names are registered or the table's.

    A file of baselines or of a history may be a stranger's, and a name such as ``os:abort`` is code
    that would be imported and called.
    """
    own = [name for name, _ in dataset_sources(settings)]
    dataset = case.dataset in own or case.dataset in DATASETS.names()
    model = case.model in settings.models or case.model in MODELS.names()
    methods = (*_all_methods(settings), *METHODS.names())
    return dataset and model and case.method in methods


def matches(case: Case, names: Iterable[str]) -> bool:
    """Whether a name or pattern matches the case."""
    return any(fnmatchcase(str(case), name) for name in names)


def named_cases(
    names: Sequence[str], among: Iterable[Case], settings: Settings
) -> tuple[Case, ...]:
    """The cases that match names and patterns: patterns within `among`, names without limit.

    Raises:
        QregError: a name is not that of a case.
        UnknownNameError: a pattern matches none, or a part of a name is unknown.
    """
    candidates = tuple(among)
    found: dict[Case, None] = {}
    for name in names:
        matching = [case for case in candidates if matches(case, (name,))]
        if not matching and _GLOB.search(name):
            raise UnknownNameError("case", name, map(str, candidates))
        found.update(dict.fromkeys(matching or [_checked(Case.parse(name), settings)]))
    return tuple(found)


def _checked(case: Case, settings: Settings) -> Case:
    if not is_known(case, settings):
        MODELS.check(case.model)
        METHODS.check(case.method)
        check_engine(case.engine)
        own = (name for name, _ in dataset_sources(settings))
        raise UnknownNameError("dataset", case.dataset, (*DATASETS.names(), *own))
    return case
