"""Which cases ``qreg upgrade`` compares."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qreg.records import Case
    from qreg.settings import Settings


def chosen_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The cases that are named, or that the options leave.

    Raises:
        UnknownNameError: a name is not known.
    """
    from qreg.cli.cases import named_cases, optioned_cases
    from qreg.quantization.engines import default_engine
    from qreg.selection import dataset_sources

    if not args.engines and settings.engines in ((), ("all",)):
        args.engines = default_engine()
    among = optioned_cases(args, settings)
    if args.cases:
        return named_cases(args.cases, among, settings)
    if not args.datasets:
        first = dataset_sources(settings)[0][0]
        among = tuple(case for case in among if case.dataset == first)
    return among if args.methods else tuple(case for case in among if _is_usual(case))


def _is_usual(case: Case) -> bool:
    """Not a successor: of those the state dict is not always all, and cannot be carried over."""
    from qreg.quantization import DEFAULT_METHODS, METHODS

    return case.method in DEFAULT_METHODS or case.method not in METHODS.names()
