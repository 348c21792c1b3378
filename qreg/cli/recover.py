"""``qreg recover``: the fewest layers to leave in float."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from qreg.cli.options import add_data_options, add_limit_option, add_thread_option, options_of
from qreg.cli.sensitivity import add_site_options, chosen_engine, chosen_method
from qreg.cli.terminal import console, write_file
from qreg.names import output_file

if TYPE_CHECKING:
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

exit status: 0 the budget is shown to be kept on samples that were not chosen by; 1 it is not; 2
failed
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "recover",
        help="the fewest layers to leave in float",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    add_site_options(parser)
    parser.add_argument(
        "--max-drop",
        type=_drop,
        default=0.5,
        metavar="X",
        help="the largest drop of the score compared with float: in points of a share such as "
        "accuracy, else in the score's unit (default: %(default)s)",
    )
    add_limit_option(parser)
    add_thread_option(parser)
    parser.add_argument("--no-code", action="store_true", help="do not print the code")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--plot", type=output_file, metavar="FILE", help="plot drop against size (PNG)"
    )
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

    method = chosen_method(args)
    if args.plot:
        from qreg.sensitivity.plot import need_matplotlib

        need_matplotlib()
    found = _recover(args, method)
    _print(found, code=not args.no_code)
    if args.json:
        from qreg.cli.speed.output import now
        from qreg.sensitivity.report import recovery_text

        write_file(args.json, recovery_text(found, created=now()).encode())
    if args.plot:
        from qreg.sensitivity.plot import recovery_png

        write_file(args.plot, recovery_png(found))
    return 0 if found.found and found.verified.outcome is BudgetOutcome.KEPT else 1


def _recover(args: argparse.Namespace, method: str) -> Recovery:
    from qreg.cli.terminal import progress_bar

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.records.case import Case
        from qreg.sensitivity.recovery import recover

        options = options_of(args, show)
        options.apply_threads()
        case = Case(args.dataset, args.model, method, chosen_engine(args, method))
        return recover(case, options, args.max_drop)


def _print(found: Recovery, *, code: bool) -> None:
    from rich.syntax import Syntax

    from qreg.sensitivity.report import gate_line, recovery_lines, recovery_notes, recovery_table

    out = console()
    for number, line in enumerate(recovery_lines(found)):
        out.print(line, style="" if number else "bold", highlight=False)
    out.print(recovery_table(found))
    for note in recovery_notes(found):
        out.print(note, style="dim", highlight=False)
    if found.keep:
        # in one line, to be copied
        out.print(f"for the gate: {gate_line(found)}", highlight=False, soft_wrap=True)
    if code and found.code:
        out.print(f"\n{', '.join(found.calls)}", style="bold", highlight=False)
        out.print(Syntax(found.code, "python", background_color="default", word_wrap=True))
