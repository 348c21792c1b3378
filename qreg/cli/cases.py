"""Naming cases on the command line: by option, by name, by pattern."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from qreg.cli.options import add_place_options
from qreg.data import DATASETS, is_dataset_path
from qreg.errors import QregError, UnknownNameError
from qreg.models import MODELS
from qreg.quantization import METHODS
from qreg.quantization.engines import ENGINES, available_engines, check_engine
from qreg.records import Case
from qreg.registry import is_object_path

# the method's name ends at the last @: engines have none
_NAME = re.compile(r"(?P<dataset>[^/]+)/(?P<model>[^/]+)/(?P<method>[^/]+)@(?P<engine>[^/@]+)")
_GLOB = re.compile(r"[*?\[]")


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """--dataset, --model, --methods and --engines, of several each, and where things are."""
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
            dest=f"{kind}s",
            default="",
            metavar="A,B,...",
            help=f"of {', '.join(names)}{f', or {own}' if own else ''}",
        )
    add_place_options(parser)


def parse_case(name: str) -> Case:
    """The case of that name, ``dataset/model/method@engine``.

    Raises:
        QregError: it is not such a name.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise QregError(
            f"'{name}' is not a case",
            hint="a case is dataset/model/method@engine: shapes10/simple_cnn/static@x86",
        )
    return Case(**found.groupdict())


def is_known(case: Case) -> bool:
    """Whether each of its names is registered, or a user's own."""
    registries = ((MODELS, case.model), (METHODS, case.method), (DATASETS, case.dataset))
    return case.engine in ENGINES and all(
        name in registry.names()
        or is_object_path(name)
        or (registry is DATASETS and is_dataset_path(name))
        for registry, name in registries
    )


def optioned_cases(args: argparse.Namespace) -> tuple[Case, ...]:
    """The cases that the options ask for, all that this machine has where one is not given.

    Raises:
        UnknownNameError: a name is not known.
    """
    from qreg.cases import gate_cases

    models = tuple(MODELS.check(name) for name in _split(args.models)) or MODELS.names()
    methods = tuple(METHODS.check(name) for name in _split(args.methods)) or METHODS.names()
    engines = tuple(check_engine(name) for name in _split(args.engines)) or available_engines()
    datasets = tuple(_dataset(name) for name in _split(args.datasets)) or DATASETS.names()
    return gate_cases(datasets, models, methods, engines)


def has_options(args: argparse.Namespace) -> bool:
    """Whether an option chooses cases."""
    return any((args.datasets, args.models, args.methods, args.engines))


def matches(case: Case, names: Iterable[str]) -> bool:
    """Whether a name or a pattern means the case."""
    return any(fnmatchcase(str(case), name) for name in names)


def named_cases(names: Sequence[str], among: Iterable[Case]) -> tuple[Case, ...]:
    """The cases that the names and patterns mean: patterns among those given, names any.

    Raises:
        QregError: a pattern means none, or a name is not a case.
        UnknownNameError: a part of a name is not known.
    """
    candidates = tuple(among)
    found: dict[Case, None] = {}
    for name in names:
        matching = [case for case in candidates if matches(case, (name,))]
        if not matching and _GLOB.search(name):
            raise UnknownNameError("case", name, map(str, candidates))
        found.update(dict.fromkeys(matching or [_checked(parse_case(name))]))
    return tuple(found)


def _checked(case: Case) -> Case:
    _dataset(case.dataset)
    MODELS.check(case.model)
    METHODS.check(case.method)
    check_engine(case.engine)
    return case


def _dataset(name: str) -> str:
    return name if is_dataset_path(name) else DATASETS.check(name)


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())
