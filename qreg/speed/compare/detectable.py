"""The smallest detectable slowdown of a sequential plan, from the spread of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qreg.stats.hodges_lehmann import Array, critical_sum, hodges_lehmann, walsh_averages

#: Power: the probability with which a detectable slowdown is found.
POWER = 0.95
# Simulated runs: the power is then known to half a percentage point. The seed is fixed.
_RUNS, _SEED = 2000, 20
_STEPS = 14


@dataclass(frozen=True)
class Reach:
    """The requirements of a look, in log ratios.

    Attributes:
        alpha: the level at which a slowdown is significant.
        threshold: the estimate must exceed it.
        margin: the run ends without a finding where the interval of `level` lies below it and the
            estimate below `threshold`.
    """

    pairs: int
    alpha: float
    threshold: float
    margin: float
    level: float


def detectable_shift(ratios: Sequence[float], reaches: tuple[Reach, ...]) -> float:
    """The shift that is found with probability `POWER`, given noise like that of `ratios`.

    The rule is applied to simulated runs, including those that stop early as unchanged. Their
    pairs are resampled from the centred ratios with random signs, so that outliers count as they
    do in a rank test, and not as they do in a standard deviation.
    """
    runs = _simulated_runs(ratios, max(reach.pairs for reach in reaches))
    looks = tuple(_demand(runs[:, : reach.pairs], reach) for reach in reaches)
    low, high = 0.0, reaches[0].threshold
    while _power(high, looks) < POWER:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, looks) >= POWER else (middle, high)
    return high


@dataclass(frozen=True)
class Demand:
    """For every simulated run (runs,), the shifts at which this look changes its decision.

    Attributes:
        found: above it the estimate is significant and large; infinite where nothing can be
            significant.
        small: up to it the estimate is below the threshold.
        excluded: up to it the interval excludes the margin.
    """

    found: Array
    small: Array
    excluded: Array


def _simulated_runs(ratios: Sequence[float], pairs: int) -> Array:
    """Noise of simulated runs (runs, pairs), reproducible."""
    centred = np.asarray(ratios, dtype=np.float64) - hodges_lehmann(ratios)
    # values centred on their own estimate have too small a spread
    centred *= np.sqrt(len(centred) / max(1, len(centred) - 1))
    draw = np.random.default_rng(_SEED)
    chosen: Array = draw.choice(centred, (_RUNS, pairs)) * draw.choice([-1.0, 1.0], (_RUNS, pairs))
    return chosen


def _demand(runs: Array, reach: Reach) -> Demand:
    averages = walsh_averages(runs)
    small: Array = reach.threshold - np.median(averages, axis=1)
    # the sum of the positive ranks is the number of positive Walsh averages
    critical = critical_sum(reach.pairs, reach.alpha)
    lifted = np.full(len(runs), np.inf) if critical is None else -averages[:, -critical]
    bound = averages[:, (critical_sum(reach.pairs, (1 - reach.level) / 2) or 0) - 1]
    return Demand(np.maximum(lifted, small), small, reach.margin - bound)


def _power(shift: float, looks: tuple[Demand, ...]) -> float:
    found = stopped = np.zeros(_RUNS, dtype=bool)
    for look in looks:
        found = found | ((shift > look.found) & ~stopped)
        stopped = stopped | ((shift <= look.excluded) & (shift <= look.small))
    return float(found.mean())
