"""The int8 promise: is a case still as much faster than fp32 as was approved?

The recorded logs of the speed-up, one of each fresh process, say what a further process may show:
with mean m and standard deviation s of n, (x - m) / (s sqrt(1 + 1/n)) follows Student's t with
n - 1 degrees of freedom. Source: the prediction interval of a normal sample, Hahn, "Factors for
calculating two-sided prediction intervals", JASA 64 (1969).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from qreg.checks.tolerances import KEPT_ELSEWHERE, KEPT_HERE, PROMISE_LEVEL, SMALLEST_SPREAD
from qreg.records.baseline import Promise
from qreg.records.verdict import Check, Finding, Outcome, PromiseCheck

#: Looks at a case before it is said to be slower, each after the one before was suspicious.
LOOKS = 3


def expected(promise: Promise) -> float:
    """The expected log of the speed-up."""
    return float(np.mean(promise.log_speed_ups))


def spread(promise: Promise) -> float:
    """Standard deviation of the logs between processes, and not less than can be believed."""
    return max(float(np.std(promise.log_speed_ups, ddof=1)), SMALLEST_SPREAD)


def lowest(promise: Promise, *, exact: bool, alpha: float) -> float:
    """The log of the speed-up below which a process is significantly slower."""
    kept = KEPT_HERE if exact else KEPT_ELSEWHERE
    degrees = len(promise.log_speed_ups) - 1
    return kept * expected(promise) - _t_quantile(alpha, degrees) * _error(promise)


def is_detectable(promise: Promise) -> bool:
    """Whether fp32's own speed would be found out, on another CPU too: else nothing is promised."""
    return lowest(promise, exact=False, alpha=PROMISE_LEVEL) > 0


def suspicious(seen: Sequence[float], promise: Promise, *, exact: bool, alpha: float) -> bool:
    """Whether every look so far was too slow, and another one is due."""
    return len(seen) < LOOKS and max(seen) < lowest(promise, exact=exact, alpha=alpha)


def check_promise(seen: Sequence[float], promise: Promise, *, exact: bool) -> PromiseCheck:
    """What the looks say: the fastest of them counts.

    Its p-value is at most that of the first look alone, whose level is therefore kept however
    the looks depend on each other.
    """
    kept = KEPT_HERE if exact else KEPT_ELSEWHERE
    found = (max(seen) - kept * expected(promise)) / _error(promise)
    return PromiseCheck(
        expected=expected(promise),
        observed=max(seen),
        looks=len(seen),
        p_value=_t_below(found, len(promise.log_speed_ups) - 1),
    )


def judge_promise(
    check: PromiseCheck, promise: Promise, *, exact: bool, alpha: float
) -> Iterator[Finding]:
    """REGRESSED where every look was too slow."""
    if check.p_value > alpha or check.looks < LOOKS:
        return
    limit = lowest(promise, exact=exact, alpha=alpha)
    low, high = min(promise.log_speed_ups), max(promise.log_speed_ups)
    yield Finding(
        check=Check.SPEED_UP,
        outcome=Outcome.REGRESSED,
        expected=f"{times(check.expected)} as fast as fp32 ({times(low)} to {times(high)} in "
        f"{len(promise.log_speed_ups)} processes)",
        observed=f"{times(check.observed)}, the fastest of {check.looks} looks",
        allowed=f"at least {times(limit)}"
        + ("" if exact else ": on another CPU or PyTorch, what is clearly no fallback"),
        where="slower kernels, or nothing quantized",
        p_value=check.p_value,
    )


def times(log_speed_up: float) -> str:
    """A log of a speed-up as people say it, "4.6x"."""
    return f"{math.exp(log_speed_up):.2f}x"


def _error(promise: Promise) -> float:
    """Standard error of a further process's difference from the mean."""
    return spread(promise) * math.sqrt(1 + 1 / len(promise.log_speed_ups))


def _t_quantile(alpha: float, degrees: int) -> float:
    """What Student's t exceeds with probability `alpha`."""
    from scipy import special  # half a second, which `baseline show` does not need

    return float(-special.stdtrit(degrees, alpha))


def _t_below(found: float, degrees: int) -> float:
    """Probability that Student's t is at most `found`."""
    from scipy import special

    return float(special.stdtr(degrees, found))
