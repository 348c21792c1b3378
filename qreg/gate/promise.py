"""Adding the check of the promised speed-up to a verdict on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qreg.baselines.applicable import choose_promise
from qreg.checks.speed_up import check_promise, is_detectable, judge_promise, lowest, suspicious
from qreg.checks.verdict import with_finding
from qreg.records.baseline import Promise
from qreg.records.case import Environment
from qreg.records.verdict import PromiseCheck, Verdict

#: Measures the log of the speed-up over fp32 at a batch size; every call measures again.
MeasureLogSpeedUp = Callable[[int], float]


@dataclass(frozen=True)
class PromiseObservation:
    """The measured speed-up compared with a promise.

    Attributes:
        exact: whether the promise was recorded in this environment.
        lost_vnni: whether it was recorded with VNNI, which this CPU lacks.
    """

    check: PromiseCheck
    promise: Promise
    exact: bool
    lost_vnni: bool = False


def observe_promise(
    promises: Sequence[Promise],
    environment: Environment,
    measure: MeasureLogSpeedUp,
    *,
    alpha: float,
) -> PromiseObservation | None:
    """Measure as often as needed to decide; None where nothing is promised."""
    chosen = choose_promise(promises, environment)
    if chosen is None or not is_detectable(chosen[0]):
        return None
    promise, basis = chosen
    lost = promise.environment.vnni and not environment.vnni
    logs = [measure(promise.batch)]
    while suspicious(logs, promise, exact=basis.exact, alpha=alpha, lost_vnni=lost):
        logs.append(measure(promise.batch))
    check = check_promise(logs, promise, exact=basis.exact, lost_vnni=lost)
    return PromiseObservation(check, promise, basis.exact, lost)


def kept_from(promises: Sequence[Promise], environment: Environment, *, alpha: float) -> float:
    """The log of the speed-up from which the promise is kept; infinity where there is none."""
    chosen = choose_promise(promises, environment)
    if chosen is None:
        return math.inf
    promise, basis = chosen
    lost = promise.environment.vnni and not environment.vnni
    return lowest(promise, exact=basis.exact, alpha=alpha, lost_vnni=lost)


def with_promise(
    verdict: Verdict, observation: PromiseObservation | None, *, alpha: float
) -> Verdict:
    """The verdict with the result of the promise added."""
    if observation is None:
        return verdict
    verdict = replace(verdict, promise=observation.check)
    found = judge_promise(
        observation.check,
        observation.promise,
        exact=observation.exact,
        alpha=alpha,
        lost_vnni=observation.lost_vnni,
    )
    for finding in found:
        verdict = with_finding(verdict, finding)
    return verdict
