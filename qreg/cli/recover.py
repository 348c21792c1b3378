"""``qreg recover``: the fewest layers to leave in float."""

from __future__ import annotations

import argparse
import math
from functools import partial
from typing import TYPE_CHECKING

from qreg.cli.sites import add_run_options, add_site_options, run_case
from qreg.cli.terminal import console, write_file
from qreg.records.method import Form

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case
    from qreg.sensitivity.records import Recovery

_DESCRIPTION = """\
Find the fewest layers to leave in float so that the score drops by at most --max-drop: chosen on
one half of the test samples, and verified on the other half with the real converted model. Prints
what it costs in size and time, the code that does it, and the name of the method for the gate.
"""
_EPILOG = """\
examples:
  qreg recover --max-drop 0.5
  qreg recover --model mobilenet_v2 --dataset cifar10 --weights per_tensor --max-drop 1
  qreg recover --method fx-static --max-drop 1 --plot front.png --json recovered.json
  qreg recover --max-drop 0.5 --keep-as bfloat16

exit status: 0 the budget is shown to be kept on samples that were not chosen by; 1 it is not; 2
failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "recover",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_site_options(parser)
    parser.add_argument(
        "--max-drop",
        type=_drop,
        default=0.5,
        metavar="X",
        help="the largest drop of the score compared with float: in points of a share such as "
        "accuracy, else in the score's unit (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-as",
        choices=[one.value for one in Form],
        default=Form.FLOAT32.value,
        help="how the layers that are not quantized store their weights and compute: float32, or "
        "at 16 bits (default: %(default)s)",
    )
    add_run_options(parser, written="the result", plotted="drop against size")
    parser.add_argument("--no-code", action="store_true", help="do not print the code")
    parser.set_defaults(run=run)


def _drop(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return number


def run(args: argparse.Namespace) -> int:
    """Find the layers and print them."""
    from qreg.records.budget import BudgetOutcome

    found = run_case(args, partial(_recover, args))
    _print(found, code=not args.no_code)
    if args.json:
        from qreg.cli.speed.output import now
        from qreg.sensitivity.report import recovery_text

        write_file(args.json, recovery_text(found, created=now()).encode())
    if args.plot:
        from qreg.sensitivity.plot import recovery_png

        write_file(args.plot, recovery_png(found))
    return 0 if found.found and found.verified.outcome is BudgetOutcome.KEPT else 1


def _recover(args: argparse.Namespace, case: Case, options: Options) -> Recovery:
    from qreg.sensitivity.recovery import recover

    return recover(case, options, args.max_drop, keep_as=Form(args.keep_as))


def _print(result: Recovery, *, code: bool) -> None:
    from rich.syntax import Syntax

    from qreg.sensitivity.report import (
        gate_line,
        other_form_line,
        recovery_lines,
        recovery_notes,
        recovery_table,
    )

    out = console()
    for number, line in enumerate(recovery_lines(result)):
        out.print(line, style="" if number else "bold", highlight=False)
    out.print(recovery_table(result))
    for note in recovery_notes(result):
        out.print(note, style="dim", highlight=False)
    if result.keep:
        # in one line, to be copied
        out.print(f"for the gate: {gate_line(result)}", highlight=False, soft_wrap=True)
    if other := other_form_line(result):
        out.print(other, highlight=False, soft_wrap=True)
    if code and result.code:
        out.print(f"\n{', '.join(result.calls)}", style="bold", highlight=False)
        out.print(Syntax(result.code, "python", background_color="default", word_wrap=True))
