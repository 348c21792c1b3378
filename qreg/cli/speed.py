"""``qreg speed``: is it slower than it was?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.cases import add_case_options, named_cases, optioned_cases, project_settings
from qreg.cli.speed_output import print_run, write_run
from qreg.errors import QregError

if TYPE_CHECKING:
    from qreg.compare.speed import Plan
    from qreg.records import Case
    from qreg.settings import Settings
    from qreg.timings import SpeedRun

_DESCRIPTION = """\
Run cases on two sides in pairs of fresh processes, and judge whether the candidate is slower.
A side is a git revision of this project (checked out beside it while this runs), a Python
interpreter (a file, a virtual environment, or a program in PATH), which runs the code that is
here, or `.`: this code with this interpreter.
"""
_EPILOG = """\
Unless chosen, cases are those of [tool.qreg] with its first dataset and, of its methods, dynamic
and static.

outcomes:
  REGRESSED     slower by more than 1 %, and significant: 1 % of false alarms in a whole run
  IMPROVED      faster, likewise
  PASS          no slowdown above what is printed, which is 3 % at most
  INCONCLUSIVE  neither: `detectable` says what such a run would have found
  ERROR         over a quarter of the pairs were lost
With several threads the gate is looser: 5 % and 15 %.

examples:
  qreg speed check                                   what is here, against HEAD
  qreg speed check HEAD~1 HEAD --model simple_cnn
  qreg speed check --baseline ../venv-old --candidate ../venv-new --methods static,dynamic
  qreg speed check --baseline . --candidate . --methods static --against fp32
  qreg speed check --cases 'shapes10/resnet20/*@x86' --pairs 24 --json speed.json

exit status: 0 no case is slower; 1 some case is REGRESSED or ERROR (with --strict, not PASS);
2 not done, with the reason; 130 interrupted, what was finished is shown
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("speed", help="whether a change or a PyTorch made it slower")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="judge a candidate against a baseline",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sides(check)
    add_selection(check)
    add_measuring(check)
    check.add_argument("--json", type=Path, metavar="FILE", help="write every pair and verdict")
    check.add_argument("--strict", action="store_true", help="whatever is not PASS fails")
    check.set_defaults(run=run_check)


def _add_sides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sides", nargs="*", metavar="BASELINE CANDIDATE", help="the same as the two options"
    )
    parser.add_argument("--baseline", metavar="REF|PYTHON", help="(default: HEAD)")
    parser.add_argument("--candidate", metavar="REF|PYTHON", help="(default: .)")
    parser.add_argument(
        "--against",
        default="",
        metavar="METHOD",
        help="the method that the baseline's side runs of each model, instead of the case's own",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """--cases and the options that choose them."""
    parser.add_argument(
        "--cases", nargs="+", default=(), metavar="CASE", help="names, or patterns: '*/qat@*'"
    )
    add_case_options(parser)


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """How it is measured."""
    numbers = {
        "pairs": (16, "the most pairs of processes: even, 8 or more"),
        "threads": (1, "threads of PyTorch's kernels"),
        "batch": (1, "images a call"),
        "timeout": (60, "seconds that one process may take"),
    }
    for name, (default, what) in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the order of the pairs (default: drawn)"
    )


def run_check(args: argparse.Namespace) -> int:
    """Compare, print, write."""
    from qreg.cli.speed_output import exit_status

    baseline, candidate = _sides(args)
    run, plan = checked(args, baseline, candidate)
    print_run(run, plan)
    if args.json:
        write_run(args.json, run)
    return exit_status(run, strict=args.strict)


def _sides(args: argparse.Namespace) -> tuple[str, str]:
    if len(args.sides) not in (0, 2) or (args.sides and (args.baseline or args.candidate)):
        raise QregError(
            f"sides {' '.join(args.sides)}", hint="give both, or --baseline and --candidate"
        )
    if args.sides:
        return args.sides[0], args.sides[1]
    return args.baseline or ("." if args.against else "HEAD"), args.candidate or "."


def checked(args: argparse.Namespace, baseline: str, candidate: str) -> tuple[SpeedRun, Plan]:
    """The run that the options ask for, with a progress bar, and its plan."""
    from qreg.cli.progress import progress_bar
    from qreg.cli.signals import stop_when_terminated

    with progress_bar() as show, stop_when_terminated():
        show(0, args.pairs, "choosing cases")
        from qreg.quantization import METHODS
        from qreg.speed.check import check_speed
        from qreg.speed.driver import Request

        settings = project_settings()
        cases = chosen_cases(args, settings)
        against = METHODS.check(args.against) if getattr(args, "against", "") else ""
        request = Request(
            cases=cases,
            plan=_plan(args, cases),
            seed=_seed(args.seed),
            against=against,
            threads=args.threads,
            batch=args.batch,
            timeout=args.timeout,
            data_dir=args.data_dir,
            checkpoints=args.checkpoints,
            progress=show,
        )
        return check_speed(request, baseline, candidate, settings.root), request.plan


def _seed(given: int | None) -> int:
    import secrets

    return secrets.randbits(32) if given is None else given


def _plan(args: argparse.Namespace, cases: tuple[Case, ...]) -> Plan:
    from qreg.compare.speed import make_plan

    for name in ("pairs", "threads", "batch", "timeout"):
        if (number := getattr(args, name)) < 1:
            raise QregError(f"--{name} {number}", hint="give a positive number")
    try:
        return make_plan(pairs=args.pairs, cases=len(cases), threads=args.threads)
    except ValueError as error:
        raise QregError(
            f"--pairs {args.pairs} with {len(cases)} cases: nothing could be significant",
            hint="give an even number of 8 or more pairs, or fewer cases: 2 for 8 pairs, 12 for 12",
        ) from error


def chosen_cases(args: argparse.Namespace, settings: Settings) -> tuple[Case, ...]:
    """The cases that are named, or that the options leave."""
    from qreg.quantization.engines import default_engine
    from qreg.selection import dataset_sources

    if not args.engines and settings.engines in ((), ("all",)):
        args.engines = default_engine()
    if args.cases:
        return named_cases(args.cases, optioned_cases(args, settings), settings)
    usual = [name for name in ("dynamic", "static") if name in settings.methods]
    args.datasets = args.datasets or dataset_sources(settings)[0][0]
    args.methods = args.methods or ",".join(usual or settings.methods)
    return optioned_cases(args, settings)
