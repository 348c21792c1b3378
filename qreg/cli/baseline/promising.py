"""``qreg baseline update --category promise``: record promised speed-ups over fp32."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qreg import __version__
from qreg.baselines.applicable import choose_promise, same_environment
from qreg.baselines.store import Store
from qreg.cli.baseline.proposing import chosen_cases
from qreg.cli.options import options_of
from qreg.errors import QregError
from qreg.records.baseline import FEWEST_PROCESSES, Approval, Promise
from qreg.records.case import Case
from qreg.selection import project_settings

if TYPE_CHECKING:
    from qreg.speed.promises import MeasuredSpeedUps

CATEGORY = "promise"


def promising_cases(args: argparse.Namespace, store: Store) -> tuple[Case, ...]:
    """The chosen cases that have a baseline, without fp32, the reference."""
    stored = set(store.cases())
    chosen = chosen_cases(args, store, args.cases)
    return tuple(case for case in chosen if case in stored and case.method != "fp32")


def record(args: argparse.Namespace, store: Store, *, date: str, commit: str) -> int:
    """Measure, write and print promises; returns how many were refused or not measured."""
    from qreg.cli.terminal import console
    from qreg.report.baseline import promises_table

    cases = promising_cases(args, store)
    if not cases:
        raise QregError("no chosen case has a baseline", hint="see: qreg baseline diff")
    measured = _measured(args, cases)
    approval = Approval(args.reason.strip(), date, commit, __version__)
    made = [_promise(case, measured, store, approval) for case in cases if _enough(case, measured)]
    refused = [one for one in made if _fell(one, store, args.accept_regression)]
    for promise in made:
        if promise not in refused:
            store.write_promise(promise)
    console().print(promises_table([one for one in made if one not in refused]), highlight=False)
    return len(refused) + _report_failures(cases, measured) + int(measured.interrupted)


def _measured(args: argparse.Namespace, cases: tuple[Case, ...]) -> MeasuredSpeedUps:
    from qreg.cli.terminal import progress_bar, stop_when_terminated
    from qreg.speed.promises import PromiseRequest, check_processes, measure_speed_ups

    with progress_bar() as show, stop_when_terminated():
        request = PromiseRequest(
            cases=cases,
            processes=check_processes(args.processes, FEWEST_PROCESSES),
            options=options_of(args, show),
        )
        show(0, args.processes, "measuring in fresh processes")
        return measure_speed_ups(request, project_settings().root)


def _enough(case: Case, measured: MeasuredSpeedUps) -> bool:
    seen = measured.log_speed_ups.get(case, {})
    return bool(seen) and all(len(logs) >= FEWEST_PROCESSES for logs in seen.values())


def _promise(case: Case, measured: MeasuredSpeedUps, store: Store, approval: Approval) -> Promise:
    """The promise at the batch size at which a fallback is easiest to detect."""
    from qreg.checks.speed_up import lowest
    from qreg.checks.tolerances import PROMISE_LEVEL

    where = measured.environment
    assert where is not None
    earlier = [one for one in store.promises(case) if same_environment(one.environment, where)]
    history = (*(earlier[0].history if earlier else ()), approval)
    seen = measured.log_speed_ups[case].items()
    found = [Promise(case, where, batch, tuple(logs), history) for batch, logs in seen]
    return max(found, key=lambda one: lowest(one, exact=False, alpha=PROMISE_LEVEL))


def _fell(now: Promise, store: Store, accepted: Sequence[str]) -> bool:
    """Whether it is below the approved promise without being accepted by name."""
    from qreg.checks.speed_up import expected, is_detectable, lowest, times
    from qreg.checks.tolerances import PROMISE_LEVEL

    chosen = choose_promise(store.promises(now.case), now.environment)
    if chosen is None or not is_detectable(chosen[0]) or str(now.case) in accepted:
        return False
    limit = lowest(chosen[0], exact=chosen[1].exact, alpha=PROMISE_LEVEL)
    if expected(now) >= limit:
        return False
    print(
        f"{now.case}: not applied, because it is {times(expected(now))} as fast as fp32 and the "
        f"promise is {times(expected(chosen[0]))}; to approve it anyway: --accept-regression "
        f"{now.case}",
        file=sys.stderr,
    )
    return True


def _report_failures(cases: Sequence[Case], measured: MeasuredSpeedUps) -> int:
    if measured.interrupted:
        print("qreg: interrupted; cases with enough measurements are promised", file=sys.stderr)
    lacking = [case for case in cases if not _enough(case, measured)]
    for case in lacking:
        print(f"{case}: {measured.errors.get(case, 'not measured')}", file=sys.stderr)
    return len(lacking)
