"""Selecting cases on the command line: by option, name or pattern."""

from __future__ import annotations

import argparse
from pathlib import Path

from qreg.cli.options import add_folder_options
from qreg.data import DATASETS
from qreg.models import MODELS
from qreg.names import Names
from qreg.quantization import METHODS
from qreg.quantization.engines import ALL_ENGINES
from qreg.records.case import Case
from qreg.selection import CaseChoice, project_settings
from qreg.settings import Settings


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select cases, and those of their folders."""
    kinds = {
        "dataset": (DATASETS.names(), "package.module:DATASET"),
        "model": (MODELS.names(), "package.module:factory"),
        "method": (METHODS.names(), "package.module:method"),
        "engine": (ALL_ENGINES, ""),
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


def case_choice(args: argparse.Namespace) -> CaseChoice:
    """What the options select."""
    return CaseChoice(args.datasets, args.models, args.methods, args.engines)


def optioned_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The project's cases that match the options.

    Raises:
        UnknownNameError: a name is unknown.
    """
    return case_choice(args).cases(settings)
