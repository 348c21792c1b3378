"""Hodges and Lehmann's estimate of a shift, with its distribution-free interval.

Source: Hodges and Lehmann, "Estimates of location based on rank tests", Ann. Math. Stat. 34
(1963); Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def walsh_averages(values: npt.ArrayLike) -> Array:
    """Means of all pairs of values, each with itself too: (..., n) to sorted (..., n(n+1)/2)."""
    found = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(found.shape[-1])
    return np.sort((found[..., first] + found[..., second]) / 2, axis=-1)


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the Walsh averages.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("no values")
    return float(np.median(walsh_averages(values)))


def signed_rank_tail(pairs: int) -> Array:
    """P(W >= w) for w = 0 .. n(n+1)/2, W being the sum of the positive ranks of n even signs."""
    ways = np.ones(1)
    for rank in range(1, pairs + 1):
        with_rank = np.concatenate([np.zeros(rank), ways])
        with_rank[: len(ways)] += ways
        ways = with_rank
    return np.cumsum(ways[::-1])[::-1] / 2.0**pairs


def critical_sum(pairs: int, alpha: float) -> int | None:
    """The smallest sum of positive ranks that is significant; None where none is."""
    significant = np.flatnonzero(signed_rank_tail(pairs) <= alpha)
    return int(significant[0]) if len(significant) else None


def shift_interval(values: Sequence[float], *, level: float) -> tuple[float, float]:
    """The interval that holds the shift with at least the probability `level`.

    Raises:
        ValueError: so few values do not give such an interval.
    """
    critical = critical_sum(len(values), (1 - level) / 2)
    if critical is None:
        raise ValueError(f"{len(values)} values have no interval of {level:.0%}")
    averages = walsh_averages(values)
    # W counts the positive averages: a shift below the k-th smallest would be significant
    return float(averages[len(averages) - critical]), float(averages[critical - 1])
