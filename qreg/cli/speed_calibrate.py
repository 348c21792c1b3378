"""``qreg speed calibrate``: how often the rule and its peers err, on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.cases import project_settings
from qreg.cli.speed_options import add_selection, chosen_cases
from qreg.errors import QregError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qreg.records import Case
    from qreg.speed.trials import Trial

_STORE = Path(".qreg") / "calibration.jsonl"
_EPILOG = """\
A trial is 16 pairs of processes, about 2 minutes; in each of them the case runs as it is, with
extra layers that make it slower by 1, 2, 3, 5 and 10 %, with a slow call in ten, and as fp32,
beside as many copies of itself. Every rule judges the same samples: other tools' rules those of
the first pair, as one run of each side. Finished trials are kept; run it again to have more.

examples:
  qreg speed calibrate --trials 5 --cases shapes10/simple_cnn/static@x86
  qreg speed calibrate --trials 5 --load 2 --cases shapes10/simple_cnn/static@x86
  qreg speed calibrate --trials 0                    print what there is

exit status: 0 printed; 2 not done, with the reason; 130 interrupted, finished trials are kept
"""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add it."""
    parser = actions.add_parser(
        "calibrate",
        help="false alarms and power of the rule and of other tools', on this machine",
        description="Run trials with and without made slowdowns, and count what each rule says.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    numbers = {
        "trials": (1, "more of them, of each case"),
        "load": (0, "noise processes that run meanwhile, seeded"),
        "timeout": (120, "seconds that one process may take"),
    }
    for name, (default, what) in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument(
        "--store", type=Path, default=_STORE, metavar="FILE", help="(default: %(default)s)"
    )
    add_selection(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run trials, and print all there are."""
    for name in ("trials", "load"):
        if getattr(args, name) < 0:
            raise QregError(f"--{name} {getattr(args, name)}", hint="give 0 or more")
    if args.trials:
        _run_trials(args)
    _print(args.store)
    return 0


def _run_trials(args: argparse.Namespace) -> None:
    from qreg.cli.progress import progress_bar
    from qreg.cli.signals import stop_when_terminated
    from qreg.speed.sides import HERE, open_side

    settings = project_settings()
    with progress_bar() as show, stop_when_terminated(), open_side(HERE, settings.root) as side:
        for case in chosen_cases(args, settings):
            _run_case(case, args, side, show)


def _run_case(
    case: Case, args: argparse.Namespace, side: object, show: Callable[[int, int, str], None]
) -> None:
    from qreg.compare.speed import make_plan
    from qreg.speed.calibrate import run_trials, set_up
    from qreg.speed.driver import Request
    from qreg.speed.sides import Side
    from qreg.speed.trials import read_trials

    assert isinstance(side, Side)
    request = Request(
        cases=(case,),
        plan=make_plan(cases=1),
        seed=0,
        timeout=args.timeout,
        data_dir=args.data_dir,
        checkpoints=args.checkpoints,
    )
    done = [t.seed for t in read_trials(args.store)[0] if (t.case, t.load) == (case, args.load)]
    first = max(done, default=-1) + 1
    run_trials(
        set_up(case, request, side),
        request,
        side,
        numbers=range(first, first + args.trials),
        load=args.load,
        store=args.store,
        progress=show,
    )


def _print(store: Path) -> None:
    from qreg.cli.output import console
    from qreg.report.calibration import calibration_table
    from qreg.speed.trials import read_trials, says_slower

    trials, damaged = read_trials(store)
    for number in damaged:
        print(f"{os.fspath(store)}, line {number} is damaged", file=sys.stderr)
    if not trials:
        raise QregError(f"{os.fspath(store)} has no trials", hint="run some: --trials 5")
    seen: dict[tuple[Case, int, str], list[tuple[tuple[float, ...], dict[str, bool]]]] = {}
    for trial in trials:
        seen.setdefault(_key(trial), []).append((trial.ratios, says_slower(trial)))
    out = console(width=150)
    for case, load in dict.fromkeys(key[:2] for key in seen):
        out.print(calibration_table(case, load, seen))


def _key(trial: Trial) -> tuple[Case, int, str]:
    return trial.case, trial.load, trial.scenario
