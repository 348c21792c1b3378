"""The speed-up promise: is a case still as much faster than fp32 as approved?

The recorded logs of the speed-up, one per fresh process, predict that of a further process: with
mean m and standard deviation s of n, (x - m) / (s sqrt(1 + 1/n)) follows Student's t with n - 1
degrees of freedom. Source: the prediction interval of a normal sample, Hahn, "Factors for
calculating two-sided prediction intervals", JASA 64 (1969).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from qreg.checks.tolerances import (
    KEPT_ELSEWHERE,
    KEPT_HERE,
    KEPT_WITHOUT_VNNI,
    PROMISE_LEVEL,
    SMALLEST_SPREAD,
)
from qreg.records.baseline import Promise
from qreg.records.verdict import Check, Finding, Outcome, PromiseCheck

#: Number of measurements before a case is reported as slower; each must be suspicious.
LOOKS = 3


def expected(promise: Promise) -> float:
    """The expected log of the speed-up."""
    return float(np.mean(promise.log_speed_ups))


def spread(promise: Promise) -> float:
    """Standard deviation of the logs between processes, at least `SMALLEST_SPREAD`."""
    return max(float(np.std(promise.log_speed_ups, ddof=1)), SMALLEST_SPREAD)


def _kept(exact: bool, lost_vnni: bool) -> float:
    """The share of the expected log of the speed-up that must be kept."""
    if exact:
        return KEPT_HERE
    return KEPT_WITHOUT_VNNI if lost_vnni else KEPT_ELSEWHERE


def lowest(promise: Promise, *, exact: bool, alpha: float, lost_vnni: bool = False) -> float:
    """The log of the speed-up below which a process is significantly slower.

    Args:
        exact: in the promise's own environment.
        lost_vnni: on a CPU without VNNI, where the promise was recorded with it.
    """
    degrees = len(promise.log_speed_ups) - 1
    return _kept(exact, lost_vnni) * expected(promise) - _t_quantile(alpha, degrees) * _error(
        promise
    )


def is_detectable(promise: Promise) -> bool:
    """Whether a fallback to fp32's speed would be detected, even on another CPU."""
    return lowest(promise, exact=False, alpha=PROMISE_LEVEL) > 0


def suspicious(
    logs: Sequence[float], promise: Promise, *, exact: bool, alpha: float, lost_vnni: bool = False
) -> bool:
    """Whether every measurement so far was too slow, and another one is needed."""
    limit = lowest(promise, exact=exact, alpha=alpha, lost_vnni=lost_vnni)
    return len(logs) < LOOKS and max(logs) < limit


def check_promise(
    logs: Sequence[float], promise: Promise, *, exact: bool, lost_vnni: bool = False
) -> PromiseCheck:
    """Compare the fastest measurement with the promise.

    The level holds for the first measurement alone, and so for the fastest of several, however
    they depend on each other.
    """
    statistic = (max(logs) - _kept(exact, lost_vnni) * expected(promise)) / _error(promise)
    return PromiseCheck(
        expected=expected(promise),
        observed=max(logs),
        looks=len(logs),
        p_value=_t_below(statistic, len(promise.log_speed_ups) - 1),
    )


def judge_promise(
    check: PromiseCheck, promise: Promise, *, exact: bool, alpha: float, lost_vnni: bool = False
) -> Iterator[Finding]:
    """REGRESSED where every measurement was too slow."""
    if check.p_value > alpha or check.looks < LOOKS:
        return
    limit = lowest(promise, exact=exact, alpha=alpha, lost_vnni=lost_vnni)
    low, high = min(promise.log_speed_ups), max(promise.log_speed_ups)
    yield Finding(
        check=Check.SPEED_UP,
        outcome=Outcome.REGRESSED,
        expected=f"{times(check.expected)} as fast as fp32 ({times(low)} to {times(high)} in "
        f"{len(promise.log_speed_ups)} processes)",
        observed=f"{times(check.observed)}, the fastest of {check.looks} measurements",
        allowed=f"at least {times(limit)}"
        + ("" if exact else " (clearly no fallback, on another CPU or PyTorch)"),
        where="slower kernels, or nothing quantized",
        p_value=check.p_value,
    )


def times(log_speed_up: float) -> str:
    """A log of a speed-up as text: "4.6x"."""
    return f"{math.exp(log_speed_up):.2f}x"


def _error(promise: Promise) -> float:
    """Standard error of the difference of a further process from the mean."""
    return spread(promise) * math.sqrt(1 + 1 / len(promise.log_speed_ups))


def _t_quantile(alpha: float, degrees: int) -> float:
    """The value that Student's t exceeds with probability `alpha`."""
    from scipy import special  # takes half a second, which `baseline show` does not need

    return float(-special.stdtrit(degrees, alpha))


def _t_below(value: float, degrees: int) -> float:
    """Probability that Student's t is at most `value`."""
    from scipy import special

    return float(special.stdtr(degrees, value))
