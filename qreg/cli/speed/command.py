"""``qreg speed``: is it slower than it was?"""

from __future__ import annotations

import argparse

from qreg.cli.speed import calibrate, history, instructions
from qreg.cli.speed.options import add_measuring, add_selection, check_cases
from qreg.cli.speed.output import exit_status, print_run, write_run
from qreg.errors import QregError
from qreg.names import output_file

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
    check.add_argument(
        "--json", type=output_file, metavar="FILE", help="write every pair and verdict"
    )
    check.add_argument("--strict", action="store_true", help="whatever is not PASS fails")
    check.set_defaults(run=run_check)
    history.add_actions(actions)
    calibrate.add_actions(actions)
    instructions.add_actions(actions)


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


def run_check(args: argparse.Namespace) -> int:
    """Compare, print, write."""
    baseline, candidate = _sides(args)
    run, plan = check_cases(args, baseline, candidate)
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
