"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from qreg.errors import QregError
from qreg.models import MODELS
from qreg.quantization import METHODS
from qreg.selection import use_project
from qreg.settings import find_settings


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, epilog: str
) -> argparse.ArgumentParser:
    """An action of a command, ``qreg baseline show``; `what` is its help, in a few words."""
    return actions.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_numbers(parser: argparse.ArgumentParser, numbers: Mapping[str, tuple[int, str]]) -> None:
    """Options that take a whole number: name to its default and what it is."""
    for name, (default, what) in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default: {default})"
        )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """--model, --dataset, --data-dir and --checkpoints."""
    parser.add_argument(
        "--model",
        default="simple_cnn",
        metavar="NAME",
        help=f"{', '.join(MODELS.names())}, or your own package.module:factory "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--dataset",
        default="shapes10",
        metavar="NAME",
        help="shapes10 (made by code), cifar10 (downloaded once), a folder of images, an npz "
        "file, or package.module:DATASET (default: %(default)s)",
    )
    add_place_options(parser)


def add_place_options(parser: argparse.ArgumentParser, *, downloads: bool = True) -> None:
    """--data-dir and --checkpoints."""
    otherwise = "it is downloaded" if downloads else "where it was downloaded to before"
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"where cifar10 is already; else QREG_DATA_DIR, else {otherwise}",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="where trained weights are; else QREG_CHECKPOINTS, else baselines/checkpoints, "
        "then the ones shipped with qreg",
    )


def add_thread_option(parser: argparse.ArgumentParser, *, default: int = 0) -> None:
    """--threads; 0 is as PyTorch chooses."""
    parser.add_argument(
        "--threads",
        type=int,
        default=default,
        metavar="N",
        help=f"threads of PyTorch's kernels (default: {default or 'as PyTorch chooses'})",
    )


def positive_or_zero(option: str, number: int) -> int:
    """Return `number` if it is not negative; 0 stands for the default.

    Raises:
        QregError: it is negative.
    """
    if number < 0:
        raise QregError(f"{option} {number}", hint="give a positive number")
    return number


def set_threads(count: int) -> None:
    """Set PyTorch's threads where a number was asked for.

    Raises:
        QregError: the number is negative.
    """
    if positive_or_zero("--threads", count):
        import torch

        torch.set_num_threads(count)


def check_model_and_methods(model: str, methods: tuple[str, ...]) -> None:
    """Refuse unknown names before anything slow begins; the project's definitions are known.

    Raises:
        UnknownNameError: a name is neither registered nor an object path.
    """
    settings = find_settings(Path.cwd())
    if settings is not None:
        use_project(settings)
    MODELS.check(model)
    for method in methods:
        METHODS.check(method)
