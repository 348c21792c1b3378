"""The command line, one command a file. Nothing here imports torch before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from qreg import __version__
from qreg.cli import audit, check, compare, migrate, selftest, train, upgrade
from qreg.cli.baseline import command as baseline
from qreg.cli.options import Parser
from qreg.cli.speed import command as speed
from qreg.errors import QregError

_DESCRIPTION = """\
Regression harness for quantized PyTorch models: what a model loses in accuracy and gains in
size and speed when it is quantized, and whether that is still what it was.
"""
_EPILOG = """\
examples:
  qreg compare                              simple_cnn on shapes10, from the shipped checkpoints
  qreg compare --dataset cifar10 --plot comparison.png
  qreg train --model simple_cnn --dataset shapes10 --method qat --out mine
  qreg baseline diff                        what no longer is as its baseline says
  qreg speed check HEAD~1 HEAD              whether the last commit made it slower
  qreg upgrade --from 2.14.1 --to 2.15.0    what another PyTorch would change

exit status: 0 done; 1 done, but some case could not be measured; 2 not done, with the reason
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="qreg",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qreg {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (check, compare, train, audit, baseline, speed, upgrade, migrate, selftest):
        command.add_parser(subparsers)
    _add_traceback(parser)
    return parser


def _add_traceback(parser: argparse.ArgumentParser) -> None:
    """--traceback, for each command and each of its actions."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for actions in below:
        for one in dict.fromkeys(actions.choices.values()):
            _add_traceback(one)
    if not below:
        what = "show the traceback of a model's code that raised"
        parser.add_argument("--traceback", action="store_true", help=what)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    try:
        args = build_parser().parse_args(argv)
        status: int = args.run(args)
    except QregError as error:
        print(f"qreg: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        if error.details and args.traceback:
            print(error.details, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("qreg: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    return status
