"""The smallest slowdown that a sequence of looks finds, from the spread between pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qreg.compare.walsh import Array, critical_sum, walsh_averages

#: How often a detectable slowdown is found.
POWER = 0.95
# Runs imagined: the power is then known to half a point. Always the same ones.
_RUNS, _SEED = 2000, 20
_STEPS = 14


@dataclass(frozen=True)
class Reach:
    """What a look demands, in log ratios.

    Attributes:
        alpha: the level at which a slowdown is significant.
        threshold: the estimate must be above it.
        margin: where the interval of `level` lies below it, and the estimate below `threshold`,
            the run ends without a finding.
    """

    pairs: int
    alpha: float
    threshold: float
    margin: float
    level: float


def detectable_shift(spread: float, reaches: tuple[Reach, ...]) -> float:
    """The shift that is found with `POWER`, the pairs being normal with that deviation.

    The rule is played on imagined runs, those that stop early as unchanged included.
    """
    low, high = 0.0, reaches[0].threshold + spread
    while _power(high, spread, reaches) < POWER:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, spread, reaches) >= POWER else (middle, high)
    return high


def _power(shift: float, spread: float, reaches: Iterable[Reach]) -> float:
    found = stopped = np.zeros(_RUNS, dtype=bool)
    for reach in reaches:
        hit, unchanged = _look(shift, spread, reach)
        found = found | (hit & ~stopped)
        stopped = stopped | unchanged
    return float(found.mean())


def _look(
    shift: float, spread: float, reach: Reach
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For every imagined run, whether it finds the shift, and whether it ends without."""
    averages, middle = _imagined(reach.pairs)
    large = shift + spread * middle > reach.threshold
    critical = critical_sum(reach.pairs, reach.alpha)
    # the sum of the positive ranks is the number of positive Walsh averages
    raised = np.zeros(_RUNS) if critical is None else averages[:, -critical]
    significant = (shift + spread * raised > 0) & (critical is not None)
    bound = averages[:, (critical_sum(reach.pairs, (1 - reach.level) / 2) or 0) - 1]
    return significant & large, (shift + spread * bound <= reach.margin) & ~large


@lru_cache(maxsize=8)
def _imagined(pairs: int) -> tuple[Array, Array]:
    """Walsh averages (runs, n(n+1)/2) of standard normal runs, and their medians (runs,).

    A run's first pairs are the same at every look.
    """
    noise = np.random.default_rng(_SEED).standard_normal((64, _RUNS))
    averages = walsh_averages(noise[:pairs].T)
    return averages, np.median(averages, axis=1)
