"""Selecting cases on the command line: by option, name or pattern."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from qreg.cli.options import add_folder_options
from qreg.data import DATASETS
from qreg.errors import UnknownNameError
from qreg.models import MODELS
from qreg.names import Names
from qreg.quantization import METHODS
from qreg.quantization.engines import ENGINES, check_engine
from qreg.records.case import Case
from qreg.selection import dataset_sources, project_settings, select_cases
from qreg.settings import Settings

_GLOB = re.compile(r"[*?\[]")


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select cases, and those of their folders."""
    kinds = {
        "dataset": (DATASETS.names(), "package.module:DATASET"),
        "model": (MODELS.names(), "package.module:factory"),
        "method": (METHODS.names(), "package.module:method"),
        "engine": (ENGINES, ""),
    }
    for kind, (names, own) in kinds.items():
        parser.add_argument(
            f"--{kind}",
            f"--{kind}s",
            action=Names,
            dest=f"{kind}s",
            metavar="A,B,...",
            help=f"from {', '.join(names)}{f', or {own}' if own else ''}",
        )
    add_folder_options(parser, downloads=False)


def chosen_root(args: argparse.Namespace) -> Path:
    """The folder of baselines: --baselines, ``QREG_BASELINES``, ``[tool.qreg]``, or the default."""
    from qreg.baselines.folder import baseline_root

    return baseline_root(args.baselines, own=project_settings().baselines)


def is_known(case: Case, settings: Settings) -> bool:
    """Whether all its names are registered, the project's, or a user's own."""
    own = (name for name, _ in dataset_sources(settings))
    dataset = case.dataset in own or DATASETS.knows(case.dataset)
    named = dataset and MODELS.knows(case.model) and METHODS.knows(case.method)
    return named and case.engine in ENGINES


def optioned_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The project's cases that match the options.

    Raises:
        UnknownNameError: a name is unknown.
    """
    return select_cases(
        settings,
        datasets=args.datasets,
        models=args.models,
        methods=args.methods,
        engines=args.engines,
    )


def has_options(args: argparse.Namespace) -> bool:
    """Whether an option selects cases."""
    return any((args.datasets, args.models, args.methods, args.engines))


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
