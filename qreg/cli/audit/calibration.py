"""``qreg audit calibration``: does it matter which samples a model is calibrated on?"""

from __future__ import annotations

import argparse
import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from qreg.cli.options import (
    add_data_options,
    add_method_options,
    add_ray_option,
    add_thread_option,
    check_model_and_methods,
    executor_of,
    options_of,
)
from qreg.cli.terminal import write_file
from qreg.names import output_file, positive
from qreg.quantization.engines import check_engine

if TYPE_CHECKING:
    from qreg.calibration.records import CalibrationAudit

_DESCRIPTION = """\
Calibrate on several seeded draws of several sizes, and report the spread of the score between
them with its interval, the number of samples from which on a further draw no longer matters, the
sites whose ranges wander, the share of values that are clipped at test time, and, without labels,
whether the test data have drifted from what the ranges were observed on.
"""
_EPILOG = """\
examples:
  qreg audit calibration
  qreg audit calibration --model resnet20 --dataset cifar10 --draws 10 --plot calibration.png
  qreg audit calibration --model resnet20 --draws 20 --ray auto
  qreg audit calibration --model nets:make_net --dataset photos.npz --sizes 16,48 --within 0.5

exit status: 0 done; 1 the test data drift at some site; 2 failed
"""


def add_parser(audits: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the audit."""
    parser = audits.add_parser(
        "calibration",
        help="which calibration samples, how many, and drift of the test data",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    add_method_options(parser)
    parser.add_argument(
        "--draws",
        type=_draws,
        default=5,
        metavar="K",
        help="seeded draws of each size, 2 or more (default: %(default)s)",
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=(),
        metavar="N,N,...",
        help="of the calibration set (default: four, up to the dataset's own, 512)",
    )
    parser.add_argument(
        "--within",
        type=_amount,
        metavar="X",
        help="what a further draw may change: percentage points, or the unit of the task's "
        "summary (default: the standard error of the score on the test samples)",
    )
    parser.add_argument(
        "--images",
        "--limit",
        dest="limit",
        type=positive,
        default=1000,
        metavar="N",
        help="test samples (default: %(default)s)",
    )
    add_thread_option(parser)
    add_ray_option(parser)
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write all as JSON")
    parser.add_argument(
        "--plot", type=output_file, metavar="FILE", help="plot scores and wandering sites as PNG"
    )
    parser.set_defaults(run=run)


def _draws(text: str) -> int:
    found = positive(text)
    if found < 2:
        raise argparse.ArgumentTypeError(f"{text}: one draw has no spread, 2 or more do")
    return found


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive(part.strip()) for part in text.split(",")))


def _amount(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return found


def run(args: argparse.Namespace) -> int:
    """Audit and print."""
    check_model_and_methods(args.model, (args.method,), args.weights_file)
    if args.engine:
        check_engine(args.engine)
    found = _audit(args)
    _print(found)
    if args.json:
        from qreg.calibration.report import audit_json

        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_file(args.json, audit_json(found, created=created).encode())
    if args.plot:
        from qreg.calibration.report import audit_png

        write_file(args.plot, audit_png(found))
    return int(any(site.drifts for site in found.sites))


def _audit(args: argparse.Namespace) -> CalibrationAudit:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.calibration.run import AuditRequest, audit_calibration
        from qreg.quantization.engines import default_engine
        from qreg.records.case import Case

        if args.ray:  # as each machine of the cluster, whose bits depend on it
            args.threads = args.threads or 1
        options = options_of(args, show)
        options.apply_threads()
        case = Case(args.dataset, args.model, args.method, args.engine or default_engine())
        request = AuditRequest(case, args.draws, options, args.sizes, args.within)
        with executor_of(args, [case]) as executor:
            if executor is None:
                return audit_calibration(request)
            from qreg.calibration.clustered import DrawsOnCluster
            from qreg.selection import project_settings

            kind = executor.most_common_kind()
            draws = DrawsOnCluster(executor, project_settings(), request, kind)
            return audit_calibration(request, draws)


def _print(audit: CalibrationAudit) -> None:
    from qreg.calibration.report import calibration_notes, site_table, size_table
    from qreg.cli.terminal import console

    out = console()
    out.print(size_table(audit))
    if audit.sites:
        out.print(site_table(audit))
    for note in calibration_notes(audit):
        out.print(note, style="dim", highlight=False)
