"""What ``qreg sensitivity`` and ``qreg recover`` share: a case whose sites are measured."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from qreg.cli.options import (
    add_data_options,
    add_limit_option,
    add_thread_option,
    check_model_and_methods,
    options_of,
)
from qreg.names import Once, output_file
from qreg.quantization import METHODS
from qreg.quantization.engines import ENGINES, check_engine, default_engine, engines_for

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case

Result = TypeVar("Result")


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the data and the case."""
    add_data_options(parser)
    parser.add_argument(
        "--method",
        action=Once,
        default="static",
        metavar="NAME",
        help=f"from {', '.join(METHODS.names())} (default: %(default)s, or the first quantized one "
        "of [tool.qreg])",
    )
    parser.add_argument(
        "--weights",
        choices=("per_channel", "per_tensor"),
        default="per_channel",
        help="per_tensor: static and qat stand for static-per-tensor and qat-per-tensor",
    )
    parser.add_argument(
        "--engine",
        action=Once,
        default="",
        metavar="NAME",
        help=f"of {', '.join(ENGINES)} (default: the first available one)",
    )


def add_run_options(parser: argparse.ArgumentParser, *, written: str, plotted: str) -> None:
    """Add the options that limit the samples and write results; the help says which."""
    add_limit_option(parser)
    add_thread_option(parser)
    parser.add_argument("--json", type=output_file, metavar="FILE", help=f"write {written} as JSON")
    parser.add_argument("--plot", type=output_file, metavar="FILE", help=f"plot {plotted} (PNG)")


def run_case(args: argparse.Namespace, measure: Callable[[Case, Options], Result]) -> Result:
    """Measure the case that the options choose, with a progress bar.

    Raises:
        UnknownNameError: a name is unknown.
        UnavailableError: a plot is asked for that cannot be drawn.
        QregError: it cannot be measured.
    """
    from qreg.cli.terminal import progress_bar

    method = chosen_method(args)
    if args.plot:  # before the work
        from qreg.sensitivity.plot import need_matplotlib

        need_matplotlib()
    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.records.case import Case

        options = options_of(args, show)
        options.apply_threads()
        return measure(Case(args.dataset, args.model, method, _engine(args, method)), options)


def chosen_method(args: argparse.Namespace) -> str:
    """The method that --method and --weights name, checked with the model and the engine.

    Raises:
        UnknownNameError: a name is unknown.
    """
    variants = {info.variant_of: info.name for info in METHODS.facts() if info.per_tensor}
    name: str = args.method
    if args.weights == "per_tensor":
        name = variants.get(name, name)
    check_model_and_methods(args.model, (name,), args.weights_file)
    if args.engine:
        check_engine(args.engine)
    return name


def _engine(args: argparse.Namespace, method: str) -> str:
    """The engine that --engine names, or the first available one that runs the method."""
    return engines_for(METHODS.info(method), (args.engine or default_engine(),))[0]
