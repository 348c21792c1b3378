"""``qreg speed calibrate``: error rates of the speed rule and other tools' on this machine."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.options import add_numbers, add_ray_option, executor_of, options_of
from qreg.cli.speed.options import add_selection, chosen_cases
from qreg.errors import QregError
from qreg.names import Names, output_file, positive_or_zero
from qreg.selection import project_settings

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.records.case import Case
    from qreg.speed.calibration.trials import Scenario
    from qreg.speed.driver import SpeedRequest

_STORE = Path(".qreg") / "calibration.jsonl"
_EPILOG = """\
A trial is a complete check with 8 to 16 pairs of processes. In each pair every case runs once
per scenario, against a clean copy of itself, until the rule has decided.

scenarios (--scenarios):
  A/A                        no difference: every "slower" is a false alarm
  1% 2% 3% 5% 10% 20%        extra layers (real work) that add this share to a call's time
  tail                       5 % more on average, all of it in every tenth call
  fp32                       the float model in place of the quantized one
  serial                     a single thread, however many the process has (with --threads 2)

All rules judge the same samples; other tools' rules get the calls of the first pair, equivalent to
one run of each side. Finished trials are kept; run it again to add more. `other load` is the number
of processors kept busy by other processes, including those of --load.

examples:
  qreg speed calibrate --trials 5 --cases shapes10/simple_cnn/static@x86
  qreg speed calibrate --trials 20 --scenarios A/A 3% --load 2 --model simple_cnn
  qreg speed calibrate --trials 5 --threads 2 --batch 100 --model simple_cnn
  qreg speed calibrate --trials 20 --ray auto        each trial alone on a machine of a cluster
  qreg speed calibrate --trials 0                    print the stored trials

exit status: 0 printed; 2 failed, with the reason; 130 interrupted, finished trials are kept
"""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    parser = actions.add_parser(
        "calibrate",
        help="false alarm rate and power of the speed rule and other tools', on this machine",
        description="Run trials with and without injected slowdowns and count each rule's "
        "detections.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--trials",
        type=positive_or_zero,
        default=1,
        metavar="N",
        help="trials to add, per case; 0 to print the stored ones (default: %(default)s)",
    )
    numbers = {
        "load": (0, "background processes that keep the machine busy, seeded"),
        "threads": (1, "threads of PyTorch's kernels"),
        "batch": (1, "samples per call"),
        "timeout": (120, "seconds that one process may take"),
    }
    add_numbers(parser, numbers)
    parser.add_argument(
        "--scenarios",
        nargs="+",
        action=Names,
        metavar="NAME",
        help="(default: those that suit --threads)",
    )
    parser.add_argument(
        "--store", type=output_file, default=_STORE, metavar="FILE", help="(default: %(default)s)"
    )
    add_selection(parser)
    add_ray_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run trials, then print all stored ones."""
    if args.trials:
        _run_trials(args)
    _print(args.store)
    return 0


def _run_trials(args: argparse.Namespace) -> None:
    from qreg.cli.terminal import progress_bar
    from qreg.processes.sides import HERE, open_side
    from qreg.speed.calibration.run import run_trials, set_up

    settings, scenarios = project_settings(), _scenarios(args)
    with ExitStack() as stack:
        show = stack.enter_context(progress_bar())
        cases = chosen_cases(args, settings)
        request = _request(args, cases, options_of(args, show))
        executor = stack.enter_context(executor_of(args, cases))
        numbers = _numbers(args.store, args.trials)
        if executor is not None:
            from qreg.speed.calibration.clustered import run_trials_on

            run_trials_on(
                executor,
                scenarios,
                request,
                settings,
                numbers=numbers,
                load=args.load,
                store=args.store,
            )
            return
        side = stack.enter_context(open_side(HERE, settings.root))
        show(0, 1, "timing the extra layers")
        run_trials(
            set_up(request.cases, scenarios, request, side),
            request,
            side,
            numbers=numbers,
            load=args.load,
            store=args.store,
        )


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    from qreg.errors import UnknownNameError
    from qreg.speed.calibration.trials import SCENARIOS, USUAL, USUAL_THREADS

    names = args.scenarios or (USUAL if args.threads == 1 else USUAL_THREADS)
    for name in names:
        if name not in SCENARIOS:
            raise UnknownNameError("scenario", name, tuple(SCENARIOS))
    return [SCENARIOS[name] for name in names]


def _request(args: argparse.Namespace, cases: tuple[Case, ...], options: Options) -> SpeedRequest:
    from qreg.speed.compare.rule import make_plan
    from qreg.speed.driver import SpeedRequest

    return SpeedRequest(
        cases=cases,
        plan=make_plan(cases=1, threads=args.threads),
        seed=0,
        options=options,
        timeout=args.timeout,
    )


def _numbers(store: Path, trials: int) -> range:
    """Unused trial numbers, which are seeds."""
    from qreg.speed.calibration.trials import read_trials

    first = max((trial.seed for trial in read_trials(store)[0]), default=-1) + 1
    return range(first, first + trials)


def _print(store: Path) -> None:
    from qreg.cli.terminal import console, say
    from qreg.speed.calibration.trials import read_trials
    from qreg.speed.report.calibration import calibration_tables

    trials, damaged = read_trials(store)
    for number in damaged:
        say(f"{os.fspath(store)}, line {number} is damaged", error=True)
    if not trials:
        raise QregError(f"{os.fspath(store)} has no trials", hint="run some: --trials 5")
    out = console(width=150)
    for table in calibration_tables(trials):
        out.print(table)
