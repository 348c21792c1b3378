"""``qreg sensitivity``: which layers do the damage."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from qreg.cli.options import (
    add_data_options,
    add_limit_option,
    add_thread_option,
    check_model_and_methods,
    options_of,
)
from qreg.cli.terminal import console, write_file
from qreg.names import Once, output_file, positive_or_zero
from qreg.quantization import METHODS
from qreg.quantization.engines import ENGINES, check_engine, default_engine, engines_for

if TYPE_CHECKING:
    from qreg.sensitivity.records import Sensitivity

_DESCRIPTION = """\
Which layers do the damage: for every site (a layer's weight, a layer's activation), quantize only
it, and all but it, and report the paired change of score. All sites are screened on few samples;
those that cause at least 2 % of the noise are measured on all.
"""
_EPILOG = """\
examples:
  qreg sensitivity
  qreg sensitivity --model mobilenet_v2 --dataset cifar10 --weights per_tensor --plot sites.png
  qreg sensitivity --model resnet20 --method pt2e-static --limit 1000 --budget-seconds 60
  qreg sensitivity --model mypackage.nets:make_net --dataset my_images/ --all --json sites.json

exit status: 0 no single site makes the score worse significantly; 1 some do; 2 failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "sensitivity",
        help="which layers do the damage",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    add_site_options(parser)
    parser.add_argument(
        "--all", action="store_true", help="measure every site on all samples, not only the noisy"
    )
    parser.add_argument(
        "--budget-seconds",
        type=positive_or_zero,
        default=0,
        metavar="N",
        help="stop after this time, without the building of the model, and say what was not "
        "measured (default: no limit)",
    )
    add_limit_option(parser)
    add_thread_option(parser)
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write all sites as JSON")
    parser.add_argument(
        "--plot", type=output_file, metavar="FILE", help="plot the sites as horizontal bars (PNG)"
    )
    parser.add_argument("--html", type=output_file, metavar="FILE", help="write a page")
    parser.set_defaults(run=run)


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """Add --method, --weights and --engine."""
    parser.add_argument(
        "--method",
        action=Once,
        default="static",
        metavar="NAME",
        help=f"from {', '.join(METHODS.names())} (default: %(default)s)",
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


def chosen_engine(args: argparse.Namespace, method: str) -> str:
    """The engine that --engine names, or the first available one that runs the method."""
    return engines_for(METHODS.info(method), (args.engine or default_engine(),))[0]


def run(args: argparse.Namespace) -> int:
    """Measure the sites and print them."""
    method = chosen_method(args)
    if args.plot:
        _need_plot()
    found = _measure(args, method)
    _print(found, everything=args.all)
    if args.json:
        from qreg.cli.speed.output import now
        from qreg.sensitivity.report import sensitivity_text

        write_file(args.json, sensitivity_text(found, created=now()).encode())
    if args.plot:
        from qreg.sensitivity.plot import sensitivity_png

        write_file(args.plot, sensitivity_png(found))
    if args.html:
        from qreg.cli.speed.output import now
        from qreg.sensitivity.page import sensitivity_page

        write_file(args.html, sensitivity_page(found, created=now()).encode(errors="replace"))
    return int(bool(found.harmful))


def _need_plot() -> None:
    """Find out before the work that a plot cannot be drawn."""
    from qreg.sensitivity.plot import need_matplotlib

    need_matplotlib()


def _measure(args: argparse.Namespace, method: str) -> Sensitivity:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.records.case import Case
        from qreg.sensitivity.run import Extent, measure_sensitivity

        options = options_of(args, show)
        options.apply_threads()
        case = Case(args.dataset, args.model, method, chosen_engine(args, method))
        extent = Extent(everything=args.all, seconds=args.budget_seconds)
        return measure_sensitivity(case, options, extent)


def _print(found: Sensitivity, *, everything: bool) -> None:
    from qreg.sensitivity.report import headline, sensitivity_notes, sensitivity_table

    out = console()
    out.print(headline(found), style="bold", highlight=False)
    out.print(sensitivity_table(found, everything=everything))
    for note in sensitivity_notes(found, everything=everything):
        out.print(note, style="dim", highlight=False)
