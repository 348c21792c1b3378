"""The command line, one file per command. Nothing imports torch before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from qreg import __version__
from qreg.cli import audit, check, compare, init, migrate, selftest, train, upgrade
from qreg.cli.baseline import command as baseline
from qreg.cli.options import Parser
from qreg.cli.speed import command as speed
from qreg.errors import QregError

_DESCRIPTION = """\
A regression harness for quantized PyTorch models: reports the accuracy cost and the size and speed
gains of quantization, with confidence intervals, and whether they have changed.
"""
_EPILOG = """\
examples:
  qreg check torchvision:resnet18           which methods can quantize it, and what blocks others
  qreg init nets:make_net --dataset data.npz  write [tool.qreg] with the methods that work
  qreg compare                              simple_cnn on shapes10, with the shipped checkpoints
  qreg compare --dataset cifar10 --plot comparison.png
  qreg train --model simple_cnn --dataset shapes10 --method qat --out mine
  qreg baseline diff                        what differs from the approved baselines
  qreg speed check HEAD~1 HEAD              whether the last commit made models slower
  qreg upgrade --from 2.14.1 --to 2.15.0    what a PyTorch upgrade would change

exit status: 0 done; 1 done, but some case could not be measured; 2 failed, with the reason
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser for all commands."""
    parser = Parser(
        prog="qreg",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qreg {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    start, tools = (check, init, compare, train), (audit, speed, upgrade, migrate, selftest)
    for command in (*start, baseline, *tools):
        command.add_parser(subparsers)
    _add_traceback(parser)
    return parser


def _add_traceback(parser: argparse.ArgumentParser) -> None:
    """Add --traceback to each command and its actions."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for actions in below:
        for one in dict.fromkeys(actions.choices.values()):
            _add_traceback(one)
    if not below:
        what = "show tracebacks of exceptions raised by a model's code"
        parser.add_argument("--traceback", action="store_true", help=what)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    The program's own, where no arguments are given, runs in a process of its own.
    """
    if argv is not None:
        return _run(argv)
    from qreg.processes.guarded import guarded

    return guarded(lambda: _run(sys.argv[1:]), lost=_lost)


def _lost(how: str) -> int:
    print(f"qreg: the process that did the work {how}", file=sys.stderr)
    print("  a model's code may have ended it, or the memory was not enough", file=sys.stderr)
    return 2


def _run(argv: Sequence[str]) -> int:
    try:
        args = build_parser().parse_args(argv)
        status: int = _work(args)
    except QregError as error:
        print(f"qreg: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        if error.details and args.traceback:
            print(error.details, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("qreg: interrupted; finished results are kept", file=sys.stderr)
        return 130
    return status


def _work(args: argparse.Namespace) -> int:
    try:
        status: int = args.run(args)
    except SystemExit as error:
        raise QregError(
            f"code that was run ended the program: sys.exit({error.code!r})",
            hint="a model, a method or a dataset must raise what is wrong, and not exit",
        ) from error
    return status
