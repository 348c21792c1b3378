"""``qreg speed``: has a change or a PyTorch upgrade made models slower?"""

from __future__ import annotations

import argparse

from qreg.cli.speed import calibrate, history, instructions
from qreg.cli.speed.options import add_measuring, add_selection, check_cases
from qreg.cli.speed.output import exit_status, print_run, write_page, write_run
from qreg.errors import QregError
from qreg.names import output_file

_DESCRIPTION = """\
Run cases on two sides in pairs of fresh processes and judge whether the candidate is slower.
A side is a git revision of this project (checked out into a temporary worktree), a Python
interpreter (a file, a virtual environment, or a program in PATH) that runs the working tree's
code, or `.`: the working tree with this interpreter.
"""
_EPILOG = """\
The default cases are those of [tool.qreg] with its first dataset and its methods dynamic and
static.

outcomes:
  REGRESSED     slower by more than 1 % and significant, at a 1 % false alarm rate per run
  IMPROVED      faster by more than 1 % and significant
  PASS          a slowdown above the printed bound, 3 % at most, is excluded
  INCONCLUSIVE  none of these; `detectable` is the smallest slowdown that such a run detects
  ERROR         more than a quarter of the pairs were lost
With several threads the limits are looser: 5 % and 15 %.

examples:
  qreg speed check                                   the working tree against HEAD
  qreg speed check HEAD~1 HEAD --model simple_cnn
  qreg speed check --baseline ../venv-old --candidate ../venv-new --methods static,dynamic
  qreg speed check --baseline . --candidate . --methods static --against fp32
  qreg speed check --cases 'shapes10/resnet20/*@x86' --pairs 24 --json speed.json --html speed.html

exit status: 0 no case is slower; 1 some case is REGRESSED or ERROR (with --strict: not PASS);
2 failed, with the reason; 130 interrupted, finished pairs are shown
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser("speed", help=what)
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
    check.add_argument("--html", type=output_file, metavar="FILE", help="write a page")
    check.add_argument("--strict", action="store_true", help="fail on any outcome but PASS")
    check.set_defaults(run=run_check)
    history.add_actions(actions)
    calibrate.add_actions(actions)
    instructions.add_actions(actions)


def _add_sides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sides", nargs="*", metavar="BASELINE CANDIDATE", help="same as the two options below"
    )
    parser.add_argument("--baseline", metavar="REF|PYTHON", help="(default: HEAD)")
    parser.add_argument("--candidate", metavar="REF|PYTHON", help="(default: .)")
    parser.add_argument(
        "--against",
        default="",
        metavar="METHOD",
        help="method that the baseline runs in place of each case's own",
    )


def run_check(args: argparse.Namespace) -> int:
    """Compare, print and write the results."""
    baseline, candidate = _sides(args)
    run, plan = check_cases(args, baseline, candidate)
    print_run(run, plan)
    if args.json:
        write_run(args.json, run)
    if args.html:
        write_page(args.html, run, plan)
    return exit_status(run, strict=args.strict)


def _sides(args: argparse.Namespace) -> tuple[str, str]:
    if len(args.sides) not in (0, 2) or (args.sides and (args.baseline or args.candidate)):
        raise QregError(
            f"sides {' '.join(args.sides)}", hint="give both, or --baseline and --candidate"
        )
    if args.sides:
        return args.sides[0], args.sides[1]
    return args.baseline or ("." if args.against else "HEAD"), args.candidate or "."
