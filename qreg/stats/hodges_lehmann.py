"""Hodges and Lehmann's estimate of a shift, with its distribution-free interval.

Source: Hodges and Lehmann, "Estimates of location based on rank tests", Ann. Math. Stat. 34
(1963); Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]

#: Up to this number of values all pairs are formed, and the null distribution is exact. Beyond, the
#: averages wanted are searched for without forming them all: 10,000 values have 50 million.
MOST_PAIRED = 100
# of a range that float64 resolves in 53
_BISECTIONS = 60


def walsh_averages(values: npt.ArrayLike) -> Array:
    """Means of all pairs of values, each with itself too: (..., n) to sorted (..., n(n+1)/2)."""
    found = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(found.shape[-1])
    return np.sort((found[..., first] + found[..., second]) / 2, axis=-1)


def walsh_average(values: npt.ArrayLike, position: int) -> float:
    """The sorted Walsh average at that position, from 0, without forming all of them.

    The number of averages up to a limit is counted in n log n, and the limit is bisected.
    """
    found = np.sort(np.asarray(values, dtype=np.float64))
    low, high = float(found[0]), float(found[-1])
    if _averages_up_to(found, low) > position:
        return low
    # low has too few averages up to it, high has enough
    for _ in range(_BISECTIONS):
        middle = low + (high - low) / 2
        if _averages_up_to(found, middle) > position:
            high = middle
        else:
            low = middle
    # what is left between them is one average, but for rounding
    partners = np.searchsorted(found, 2 * high - found, side="right") - 1
    there = partners >= 0
    return float(((found[there] + found[partners[there]]) / 2).max())


def _averages_up_to(values: Array, limit: float) -> int:
    """How many averages of two of the sorted values, or of one with itself, are at most that."""
    partners = np.searchsorted(values, 2 * limit - values, side="right")
    own = int(np.count_nonzero(values <= limit))
    # every pair of two values was counted from both ends, one with itself once
    return (int(partners.sum()) + own) // 2


def hodges_lehmann(values: Sequence[float] | Array) -> float:
    """The median of the Walsh averages.

    Raises:
        ValueError: there are no values.
    """
    count = len(values)
    if not count:
        raise ValueError("no values")
    if count <= MOST_PAIRED:
        return float(np.median(walsh_averages(values)))
    averages = count * (count + 1) // 2
    lower, upper = ((averages - 1) // 2, averages // 2)
    first = walsh_average(values, lower)
    return first if lower == upper else (first + walsh_average(values, upper)) / 2


def signed_rank_tail(pairs: int) -> Array:
    """P(W >= w) for w = 0 .. n(n+1)/2, W being the sum of the positive ranks of n even signs."""
    ways = np.ones(1)
    for rank in range(1, pairs + 1):
        with_rank = np.concatenate([np.zeros(rank), ways])
        with_rank[: len(ways)] += ways
        ways = with_rank
    return np.cumsum(ways[::-1])[::-1] / 2.0**pairs


def critical_sum(pairs: int, alpha: float) -> int | None:
    """The smallest sum of positive ranks that is significant; None where none is.

    Beyond `MOST_PAIRED` by the normal approximation, rounded outwards.
    """
    if pairs > MOST_PAIRED:
        spread = math.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
        sum_ = pairs * (pairs + 1) / 4 - float(special.ndtri(alpha)) * spread + 0.5
        return min(math.ceil(sum_), pairs * (pairs + 1) // 2)
    significant = np.flatnonzero(signed_rank_tail(pairs) <= alpha)
    return int(significant[0]) if len(significant) else None


def shift_interval(values: Sequence[float] | Array, *, level: float) -> tuple[float, float]:
    """The interval that holds the shift with at least the probability `level`.

    Raises:
        ValueError: so few values do not give such an interval.
    """
    count = len(values)
    critical = critical_sum(count, (1 - level) / 2)
    if critical is None:
        raise ValueError(f"{count} values have no interval of {level:.0%}")
    total = count * (count + 1) // 2
    # W counts the positive averages: a shift below the k-th smallest would be significant
    if count > MOST_PAIRED:
        return walsh_average(values, total - critical), walsh_average(values, critical - 1)
    averages = walsh_averages(values)
    return float(averages[total - critical]), float(averages[critical - 1])
