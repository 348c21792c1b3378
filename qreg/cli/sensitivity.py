"""``qreg sensitivity``: which layers do the damage."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from qreg.cli.options import add_ray_option, executor_of
from qreg.cli.sites import add_run_options, add_site_options, run_case
from qreg.cli.terminal import console, write_file
from qreg.errors import QregError
from qreg.names import output_file, positive_or_zero

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case
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
  qreg sensitivity --model resnet20 --all --ray auto

exit status: 0 no single site makes the score worse significantly; 1 some do; 2 failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "sensitivity",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    add_run_options(parser, written="all sites", plotted="the sites as horizontal bars")
    add_ray_option(parser)
    parser.add_argument("--html", type=output_file, metavar="FILE", help="write a page")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure the sites and print them."""
    if args.ray and args.budget_seconds:
        raise QregError(
            "--budget-seconds with --ray: what is measured in a time depends on the machines",
            hint="leave one of them out",
        )
    if args.ray:  # as each machine of the cluster, whose bits depend on it
        args.threads = args.threads or 1
    found = run_case(args, partial(_measure, args))
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


def _measure(args: argparse.Namespace, case: Case, options: Options) -> Sensitivity:
    from qreg.sensitivity.run import Extent, measure_sensitivity

    extent = Extent(everything=args.all, seconds=args.budget_seconds)
    with executor_of(args, [case]) as executor:
        if executor is None:
            return measure_sensitivity(case, options, extent)
        from qreg.selection import project_settings
        from qreg.sensitivity.clustered import cluster_measuring

        fully = cluster_measuring(executor, project_settings(), options)
        return measure_sensitivity(case, options, extent, fully)


def _print(result: Sensitivity, *, everything: bool) -> None:
    from qreg.sensitivity.report import headline, sensitivity_notes, sensitivity_table

    out = console()
    out.print(headline(result), style="bold", highlight=False)
    out.print(sensitivity_table(result, everything=everything))
    for note in sensitivity_notes(result, everything=everything):
        out.print(note, style="dim", highlight=False)
