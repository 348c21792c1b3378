"""``qreg upgrade``: what would a PyTorch upgrade change?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qreg.cli.options import add_ray_option, executor_of, options_of
from qreg.cli.speed.options import add_selection
from qreg.errors import QregError
from qreg.names import output_file, positive
from qreg.progress import no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from qreg.progress import Progress
    from qreg.records.case import Case
    from qreg.settings import Settings
    from qreg.speed.records import SpeedRun
    from qreg.upgrade.matrix.records import MatrixReport
    from qreg.upgrade.matrix.run import MatrixRequest
    from qreg.upgrade.records import UpgradeReport
    from qreg.upgrade.running import UpgradeRequest

_DESCRIPTION = """\
Compare quantized models under two PyTorch versions: what still runs, whether the numbers are
equal, what causes a difference (observers, convert, kernels, serialization), whether files of one
load in the other, accuracy as judged by the regression gate, and which tensor properties hold.

A side is a version such as `2.14.1`, whose virtual environment is created and kept in the cache (a
few minutes and 6 GB the first time), or an interpreter: a file, a virtual environment's folder, or
a program in PATH. It needs PyTorch and qreg's dependencies, not qreg. `.` is this interpreter.
`onnxruntime==1.20.1` or `torchao==0.17.0` is this interpreter with that version.

A delivered file among the methods (file:net_int8.onnx) is loaded by both sides.

--matrix compares several versions, each with the next, in one table; with --bisect, it tries the
releases in between until the first version of each difference is known.
"""
_EPILOG = """\
The default cases are those of [tool.qreg] with its first dataset on the default engine, without the
successors of deprecated methods (fx-*, pt2e-*, torchao-*), which --methods can add: some of their
state dicts do not contain the whole model, so that differences cannot be attributed to a side.

verdicts:
  safe: bits equal         every case, file and property is identical
  different, within noise  float arithmetic or kernels round differently, and no check of the gate
                           fails; or results for edge inputs changed
  do not upgrade: ...      something no longer runs, is lost in a file, or quantizes equal floats
                           differently; or the regression gate fails a case

examples:
  qreg upgrade --from 2.14.1 --to 2.15.0
  qreg upgrade --from . --to ../venv-new --model simple_cnn --markdown upgrade.md
  qreg upgrade --from 2.9.1 --to 2.15.0 --methods static,dynamic --html upgrade.html --speed
  qreg upgrade --from 2.14.1 --to 2.15.0 --ray auto
  qreg upgrade --from onnxruntime==1.20.1 --to . --methods file:net_int8.onnx
  qreg upgrade --matrix 2.6.0,2.9.1,2.14.1,2.15.0 --html versions.html
  qreg upgrade --matrix 2.9.1,2.14.1 --bisect --model simple_cnn
  qreg upgrade --matrix 2.9.1,2.14.1 --bisect --releases 2.11.0,2.13.0

exit status: 0 safe, or different within noise (with --strict: safe only); 1 do not upgrade, or no
case could be compared; 2 failed, with the reason, such as a version that cannot be installed or an
interpreter without PyTorch. Of --matrix, the highest of its pairs'
"""

_SIDES = {"from": "baseline", "to": "candidate"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "upgrade",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, name in _SIDES.items():
        parser.add_argument(
            f"--{option}",
            dest=name,
            default="",
            metavar="PYTHON|VERSION",
            help="a PyTorch version, an interpreter, or onnxruntime==VERSION, torchao==VERSION",
        )
    parser.add_argument(
        "--matrix",
        type=sides,
        default=(),
        metavar="A,B,...",
        help="compare each of several versions or interpreters with the next; separated by ; where "
        "one of them has commas",
    )
    parser.add_argument(
        "--bisect",
        action="store_true",
        help="of --matrix: try the releases in between, too, to find where each difference appears",
    )
    parser.add_argument(
        "--releases",
        type=sides,
        default=(),
        metavar="A,B,...",
        help="of --bisect: try only these, in this order (default: all of the package index)",
    )
    add_selection(parser)
    parser.add_argument(
        "--timeout",
        type=positive,
        default=120,
        metavar="N",
        help="seconds that one case may take (default: %(default)s)",
    )
    add_ray_option(parser)
    parser.add_argument("--speed", action="store_true", help="compare speed too (takes minutes)")
    for kind in ("json", "markdown", "html"):
        parser.add_argument(
            f"--{kind}", type=output_file, metavar="FILE", help=f"write the report as {kind}"
        )
    parser.add_argument("--strict", action="store_true", help="fail unless everything is equal")
    parser.set_defaults(run=run)


def sides(text: str) -> tuple[str, ...]:
    """The sides in a list.

    Raises:
        ArgumentTypeError: it has none.
    """
    found = (one.strip() for one in text.split(";" if ";" in text else ","))
    if named := tuple(one for one in found if one):
        return named
    raise argparse.ArgumentTypeError(f"{text!r} names no version: 2.9.1,2.14.1")


def run(args: argparse.Namespace) -> int:
    """Compare, print and write the reports."""
    _check(args)
    if args.matrix:
        return _run_matrix(args)
    report = _report(args)
    from qreg.upgrade.report.text import closing_lines, opening_lines, upgrade_table

    _print(opening_lines(report), upgrade_table(report), closing_lines(report))
    _write(args, report)
    return _status(report, strict=args.strict)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        QregError: they do, or one is missing.
    """
    given = [name for name in ("from", "to") if getattr(args, _SIDES[name])]
    if args.matrix and given:
        raise QregError(
            f"--matrix with --{given[0]}",
            hint="--matrix names all versions: --matrix 2.9.1,2.14.1,2.15.0",
        )
    if not args.matrix and (missing := [f"--{name}" for name in _SIDES if name not in given]):
        raise QregError(
            f"the following arguments are required: {', '.join(missing)}",
            hint="name two sides, --from A --to B, or several, --matrix A,B,C",
        )
    if args.bisect and not args.matrix:
        raise QregError("--bisect without --matrix", hint="--matrix A,B --bisect")
    if args.releases and not args.bisect:
        raise QregError("--releases without --bisect", hint="--matrix A,B --bisect --releases ...")


def _report(args: argparse.Namespace) -> UpgradeReport:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "choosing cases")
        from qreg.upgrade.check import check_upgrade

        request, settings = _request(args, show)
        with executor_of(args, request.cases) as executor:
            if executor is None:
                return check_upgrade(request)
            from qreg.upgrade.clustered import check_on_cluster

            return check_on_cluster(executor, request, settings)


def _request(args: argparse.Namespace, show: Progress) -> tuple[UpgradeRequest, Settings]:
    from qreg.selection import project_settings
    from qreg.upgrade.running import UpgradeRequest

    settings = project_settings()
    cases = chosen_cases(args, settings)
    request = UpgradeRequest(
        cases=cases,
        baseline=args.baseline,
        candidate=args.candidate,
        project=settings.root,
        options=options_of(args, show),
        timeout=args.timeout,
        speed=_speed(args, cases, settings, show) if args.speed else None,
    )
    return request, settings


def _run_matrix(args: argparse.Namespace) -> int:
    report = _matrix(args)
    from qreg.upgrade.matrix.report import closing_lines, matrix_table, opening_lines

    _print(opening_lines(report), matrix_table(report), closing_lines(report))
    _write_matrix(args, report)
    return max(
        2 if pair.report is None else _status(pair.report, strict=args.strict)
        for pair in report.pairs
    )


def _matrix(args: argparse.Namespace) -> MatrixReport:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "choosing cases")
        from qreg.upgrade.matrix.run import (
            LocalComparer,
            MatrixRequest,
            check_entries,
            compare_matrix,
        )

        template, settings = _request(args, show)
        request = MatrixRequest(args.matrix, template, args.bisect, args.releases)
        with executor_of(args, template.cases) as executor:
            if executor is None:
                check_entries(request)
                return compare_matrix(request, LocalComparer())
            from qreg.upgrade.clustered import ClusterComparer

            return compare_matrix(_sent(request), ClusterComparer(executor, settings, show))


def _sent(request: MatrixRequest) -> MatrixRequest:
    """Without the progress of each pair: that of the cluster names them all."""
    options = replace(request.template.options, progress=no_progress)
    return replace(request, template=replace(request.template, options=options))


def _write_matrix(args: argparse.Namespace, report: MatrixReport) -> None:
    from qreg.cli.speed.output import now
    from qreg.upgrade.matrix.report import matrix_html, matrix_markdown, matrix_text

    created = now()
    _write_files(
        (args.json, matrix_text(report, created=created)),
        (args.markdown, matrix_markdown(report)),
        (args.html, matrix_html(report, created=created)),
    )


def _speed(
    args: argparse.Namespace, cases: tuple[Case, ...], settings: Settings, show: Progress
) -> Callable[[str, str], SpeedRun]:
    """The paired speed check of the dynamic and static cases, or of all if there are none."""
    import secrets

    from qreg.speed.check import check_speed
    from qreg.speed.compare.rule import make_plan
    from qreg.speed.driver import SpeedRequest

    timed = tuple(one for one in cases if one.method in ("dynamic", "static")) or cases
    try:
        plan = make_plan(pairs=16, cases=len(timed), threads=1)
    except ValueError as error:
        raise QregError(f"--speed with {len(timed)} cases", hint="choose fewer cases") from error
    request = SpeedRequest(
        cases=timed,
        plan=plan,
        seed=secrets.randbits(32),
        options=options_of(args, show),
    )
    return lambda baseline, candidate: check_speed(request, baseline, candidate, settings.root)


def _print(opening: Sequence[str], table: Table, closing: Iterable[str]) -> None:
    from qreg.cli.terminal import console

    out = console()
    first, *more = opening
    out.print(first, style="bold", highlight=False, markup=False)
    for line in more:
        out.print(line, highlight=False, markup=False)
    out.print(table)
    for line in closing:
        out.print(line, highlight=False, markup=False)


def _write(args: argparse.Namespace, report: UpgradeReport) -> None:
    from qreg.cli.speed.output import now
    from qreg.upgrade.report.html_page import upgrade_html
    from qreg.upgrade.report.markdown import upgrade_markdown
    from qreg.upgrade.report.text import upgrade_text

    created = now()
    _write_files(
        (args.json, upgrade_text(report, created=created)),
        (args.markdown, upgrade_markdown(report)),
        (args.html, upgrade_html(report, created=created)),
    )


def _write_files(*texts: tuple[Path | None, str]) -> None:
    from qreg.cli.terminal import write_file

    for path, text in texts:
        if path:
            write_file(path, text.encode())


def _status(report: UpgradeReport, *, strict: bool) -> int:
    from qreg.upgrade.records import UpgradeLevel

    compared = any(one.level is not None for one in report.cases)
    worst = UpgradeLevel.SAFE if strict else UpgradeLevel.DIFFERENT
    return int(not compared or report.level.severity > worst.severity)


def chosen_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The named cases, or those that the options select.

    Raises:
        UnknownNameError: a name is unknown.
    """
    from qreg.cli.cases import optioned_cases
    from qreg.quantization.engines import default_engine
    from qreg.selection import dataset_sources, named_cases

    if not args.engines and settings.engines in ((), ("all",)):
        args.engines = (default_engine(),)
    among = optioned_cases(args, settings)
    if args.cases:
        return named_cases(args.cases, among, settings)
    if not args.datasets:
        first = dataset_sources(settings)[0][0]
        among = tuple(case for case in among if case.dataset == first)
    return among if args.methods else tuple(case for case in among if _is_usual(case))


def _is_usual(case: Case) -> bool:
    """Whether the method is no successor: their state dicts may not contain the whole model."""
    from qreg.quantization import METHODS

    return not METHODS.info(case.method).replaces
