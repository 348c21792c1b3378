"""The command line, one file per command. Nothing imports torch before a command runs."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exception

from qreg import __version__
from qreg.cli.parser import Parser
from qreg.cli.terminal import say
from qreg.errors import QregError, UnknownNameError
from qreg.processes.stopping import BY_SIGNAL, INTERRUPTED, asked_to_stop, stoppable

_DESCRIPTION = """\
A regression harness for quantized PyTorch models: reports the accuracy cost and the size and speed
gains of quantization, with confidence intervals, and whether they have changed.
"""
_EPILOG = """\
examples:
  qreg check torchvision:resnet18           which methods can quantize it, and what blocks others
  qreg init nets:make_net --dataset data.npz  write [tool.qreg] with the methods that work
  qreg compare                              the model of [tool.qreg], else simple_cnn on shapes10
  qreg compare --dataset cifar10 --plot comparison.png
  qreg sensitivity --method static          which layers do the damage
  qreg recover --max-drop 0.5               the fewest layers to leave in float
  qreg train --model simple_cnn --dataset shapes10 --method qat --out mine
  qreg baseline diff                        what differs from the approved baselines
  qreg speed check HEAD~1 HEAD              whether the last commit made models slower
  qreg upgrade --from 2.14.1 --to 2.15.0    what a PyTorch upgrade would change

exit status: 0 done; 1 done, but some case could not be measured; 2 failed, with the reason; 130
interrupted by Ctrl-C, 143 by SIGTERM
"""


_PRINTED = ("-h", "--help", "--version")
#: The module and the short help of each command, in the order of ``qreg --help``.
COMMANDS = {
    "check": (
        "qreg.cli.check",
        "check which methods can quantize a model, and what blocks the others",
    ),
    "init": ("qreg.cli.init", "write [tool.qreg] for a model, with the methods that work"),
    "compare": ("qreg.cli.compare", "accuracy, size and speed of a model's quantized versions"),
    "train": ("qreg.cli.train", "train a checkpoint from its recipe"),
    "sensitivity": ("qreg.cli.sensitivity", "which layers do the damage"),
    "recover": ("qreg.cli.recover", "the fewest layers to leave in float"),
    "baseline": ("qreg.cli.baseline.command", "show, compare and approve baselines"),
    "audit": (
        "qreg.cli.audit.command",
        "predict a model's behaviour on other CPUs and with other samples",
    ),
    "speed": ("qreg.cli.speed.command", "detect slowdowns from a change or an upgrade"),
    "history": ("qreg.cli.history", "verdicts, scores and sizes over time"),
    "upgrade": ("qreg.cli.upgrade", "compare two PyTorch versions"),
    "migrate": ("qreg.cli.migrate", "compare deprecated methods with their successors"),
    "selftest": ("qreg.cli.selftest", "inject faults to verify that the gate detects them"),
}


def build_parser(argv: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser for all commands.

    Args:
        argv: what it will parse: only commands that are named there get their options, because
            importing all of them takes longer than Python itself; None for all.
    """
    parser = Parser(
        prog="qreg",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qreg {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, what) in COMMANDS.items():
        if argv is None or name in argv:
            importlib.import_module(module).add_parser(subparsers, what)
        else:
            subparsers.add_parser(name, help=what)
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
        if isinstance(parser, Parser):
            parser.names_itself()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    The program's own, where no arguments are given, runs in a process of its own.
    """
    if argv is not None:
        return _run(argv)
    if len(sys.argv) == 2 and sys.argv[1] in _PRINTED:  # no one else's code runs
        return _run(sys.argv[1:])
    from qreg.processes.guarded import guarded
    from qreg.processes.quiet import silence_kernels

    silence_kernels()
    return guarded(lambda: _run(sys.argv[1:]), lost=_lost)


def _lost(how: str) -> int:
    say(
        f"qreg: the process that did the work {how}",
        "  a model's code may have ended it, or the memory was not enough",
        error=True,
    )
    return 2


def _run(argv: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # a terminal or a pipe without UTF-8 shows what it can
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return _stoppable(build_parser(argv).parse_args(argv))
    except BrokenPipeError:  # who read the output wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BY_SIGNAL + signal.SIGPIPE
    except (QregError, OSError, MemoryError) as error:
        return _failed(error, traceback="--traceback" in argv)


def _stoppable(args: argparse.Namespace) -> int:
    """Run the command; 130 where it is interrupted, in whatever form that arrives here."""
    try:
        with stoppable():
            status: int = _work(args)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt) and not asked_to_stop():
            raise
        say(f"qreg: interrupted; {getattr(args, 'interrupted', 'nothing is written')}", error=True)
        return INTERRUPTED
    return status


def _failed(error: QregError | OSError | MemoryError, *, traceback: bool) -> int:
    if isinstance(error, QregError):
        text, hint, details = str(error), error.hint + _of_no_project(error), error.details
    elif isinstance(error, MemoryError):
        text, hint, details = "the memory is not enough", "use smaller batches: --batch", ""
    else:
        named = f"{error.filename}: " if error.filename else ""
        text, details = f"{named}{error.strerror or error}", "".join(format_exception(error))
        hint = "the full account: --traceback"
    say(f"qreg: {text}", *([f"  {hint}"] if hint else []), error=True)
    if details and traceback:
        say(details, error=True)
    return 2


def _of_no_project(error: QregError) -> str:
    """What to add to an unknown name where there is no project, which may define it."""
    if not isinstance(error, UnknownNameError) or error.kind not in ("model", "dataset", "method"):
        return ""
    from qreg.settings import find_settings

    with contextlib.suppress(QregError, OSError):
        if find_settings(Path.cwd()) is None:
            return "; no pyproject.toml with [tool.qreg] is here or above"
    return ""


def _work(args: argparse.Namespace) -> int:
    from qreg.cli.cases import bring_chosen
    from qreg.cli.options import choose_the_folders, choose_the_projects

    try:
        choose_the_folders(args)
        choose_the_projects(args)
        bring_chosen(args)
        status: int = args.run(args)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich's way to end
            raise error.__context__ from None
        raise QregError(
            f"code that was run ended the program: sys.exit({error.code!r})",
            hint="a model, a method or a dataset must raise what is wrong, and not exit",
        ) from error
    return status
