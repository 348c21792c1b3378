"""The rule: the spread between draws, from which size on it does not matter, which sites drift.

Sources: the intervals of a normal sample, of its standard deviation by the chi-square distribution
and of one further value by Student's (Hahn, "Factors for calculating two-sided prediction
intervals", JASA 64 (1969)); Mann and Whitney, "On a test of whether one of two random variables is
stochastically larger than the other", Ann. Math. Stat. 18 (1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import special

from qreg.calibration.records import DrawResult, RangeSite, SizeSummary
from qreg.stats.holm import holm

#: The level of all intervals, and the level at which any site of an audit is said to drift.
LEVEL, DRIFT_LEVEL = 0.95, 0.01
Array = npt.NDArray[np.float64]


def summarize_size(results: Sequence[DrawResult]) -> SizeSummary:
    """The mean, spread and prediction interval of all draws of one size.

    Raises:
        ValueError: fewer than two draws.
    """
    scores = np.array([one.score for one in results])
    count = len(scores)
    if count < 2:
        raise ValueError(f"{count} draws have no spread")
    mean, spread, degrees = float(scores.mean()), float(scores.std(ddof=1)), count - 1
    tail = (1 - LEVEL) / 2
    low, high = (
        spread * math.sqrt(degrees / float(special.chdtri(degrees, share)))
        for share in (tail, 1 - tail)
    )
    half = float(special.stdtrit(degrees, 1 - tail)) * spread * math.sqrt(1 + 1 / count)
    return SizeSummary(results[0].size, count, mean, spread, low, high, mean - half, mean + half)


def enough(sizes: Sequence[SizeSummary], within: float) -> int | None:
    """The smallest size from which on a further draw stays that near to the largest's mean."""
    ordered = sorted(sizes, key=lambda one: one.size)
    wanted, found = ordered[-1].mean, None
    for one in reversed(ordered):
        if one.low < wanted - within or one.high > wanted + within:
            break
        found = one.size
    return found


def drift(test: Array, calibration: Array) -> tuple[float, float]:
    """The probability that a test sample's value is the larger one, and the two-sided p-value.

    Args:
        test, calibration: one number a sample, (N,) and (M,).
    """
    from scipy import stats

    found = stats.mannwhitneyu(test, calibration, alternative="two-sided", method="asymptotic")
    p_value = float(found.pvalue)
    larger = float(found.statistic) / (len(test) * len(calibration))
    return larger, p_value if math.isfinite(p_value) else 1.0


def with_drift(sites: Sequence[RangeSite]) -> tuple[RangeSite, ...]:
    """The sites with those that drift marked, by Holm's procedure over all that were tested."""
    tested = [number for number, one in enumerate(sites) if one.p_value is not None]
    hits = holm([sites[number].p_value or 0.0 for number in tested], alpha=DRIFT_LEVEL)
    drifting = {number for number, hit in zip(tested, hits, strict=True) if hit}
    return tuple(replace(one, drifts=number in drifting) for number, one in enumerate(sites))


def wander(scales: Sequence[float]) -> float:
    """The relative standard deviation of a site's scales: that of their logs."""
    logs = np.log(np.maximum(np.array(scales), np.finfo(np.float64).tiny))
    return float(logs.std(ddof=1))
