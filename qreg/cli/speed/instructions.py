"""``qreg speed instructions``: instructions per call, counted by callgrind."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from qreg.cli.options import add_action, add_numbers, options_of
from qreg.cli.speed.options import add_selection, chosen_cases
from qreg.errors import QregError
from qreg.selection import project_settings

if TYPE_CHECKING:
    from qreg.speed.records import Counted

_EPILOG = """\
Needs valgrind (Linux). PyTorch is imported under valgrind, which takes a minute or two per side
before anything is counted. Sides are those of `qreg speed check`; without sides only the working
tree is counted. Uses one thread. A count is a second signal, not a verdict; its limitations are
printed with it.

examples:
  qreg speed instructions --cases shapes10/simple_cnn/static@x86
  qreg speed instructions HEAD . --model simple_cnn
  qreg speed instructions ../venv-old ../venv-new --methods static --batch 10

exit status: 0 counted; 2 failed, with the reason
"""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    parser = add_action(actions, "instructions", "count instructions with callgrind", _EPILOG)
    parser.add_argument(
        "sides", nargs="*", metavar="BASELINE CANDIDATE", help="two sides (default: . alone)"
    )
    numbers = {
        "calls": (10, "calls in each of 3 bursts"),
        "batch": (1, "samples per call"),
        "timeout": (900, "seconds that one process may take"),
    }
    add_numbers(parser, numbers)
    add_selection(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count instructions and print them."""
    if len(args.sides) not in (0, 2):
        raise QregError(
            f"sides {' '.join(args.sides)}", hint="give two, or none for the working tree"
        )
    _print(_counted(args))
    return 0


def _counted(args: argparse.Namespace) -> tuple[Counted, ...]:
    from qreg.cli.terminal import progress_bar
    from qreg.processes.sides import HERE
    from qreg.selection import dataset_sources
    from qreg.speed.instructions import CountRequest, count_instructions

    settings = project_settings()
    with progress_bar() as show:
        show(0, 1, "choosing cases")
        request = CountRequest(
            cases=chosen_cases(args, settings),
            calls=args.calls,
            # a revision that is checked out lacks the data that git ignores
            options=replace(options_of(args, show), sources=dataset_sources(settings)),
            timeout=args.timeout,
        )
        return count_instructions(request, args.sides or (HERE,), settings.root)


def _print(counted: tuple[Counted, ...]) -> None:
    from qreg.cli.terminal import console
    from qreg.speed.report.instructions import LIMITS, instructions_table

    out = console()
    out.print(instructions_table(counted))
    for line in LIMITS:
        out.print(line, highlight=False)
