"""Selecting cases on the command line: by option, name or pattern."""

from __future__ import annotations

import argparse
from pathlib import Path

from qreg.cli.options import add_folder_options, add_weights_option, bring
from qreg.data import DATASETS
from qreg.errors import QregError
from qreg.models import MODELS
from qreg.names import Names
from qreg.quantization import METHODS
from qreg.quantization.engines import ALL_ENGINES
from qreg.records.case import Case
from qreg.selection import CaseChoice, project_settings
from qreg.settings import Settings, find_settings


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
    add_weights_option(parser)
    add_folder_options(parser, downloads=False)


def bring_chosen(args: argparse.Namespace) -> None:
    """Let the model that is chosen have the weights of --weights-file, where that is given.

    Raises:
        QregError: more than one is chosen, or the file is not there.
    """
    if not hasattr(args, "models"):  # a command for one model: it does so itself
        return
    weights, models = getattr(args, "weights_file", None), args.models
    if weights is not None and not models and (settings := find_settings(Path.cwd())):
        models = settings.models
    if weights is not None and len(models) != 1:
        raise QregError(f"--weights-file with {len(models)} models", hint="name one: --model NAME")
    bring(models[0] if models else "", weights)


def chosen_root(args: argparse.Namespace, *, to_write: bool = False) -> Path:
    """The folder of baselines: --baselines, ``QREG_BASELINES``, ``[tool.qreg]``, or the default."""
    from qreg.baselines.folder import baseline_root

    return baseline_root(args.baselines, own=project_settings().baselines, to_write=to_write)


def case_choice(args: argparse.Namespace) -> CaseChoice:
    """What the options select."""
    return CaseChoice(args.datasets, args.models, args.methods, args.engines)


def optioned_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The project's cases that match the options.

    Raises:
        UnknownNameError: a name is unknown.
    """
    return case_choice(args).cases(settings)
