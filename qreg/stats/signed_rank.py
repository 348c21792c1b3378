"""The paired signed-rank test, with the typical change and its interval.

Sources: Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945);
Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", chapter 3, for ties and for the
interval; scipy.stats.wilcoxon.

It is about the typical change, not about the mean: where differences are skewed, their mean can be
zero and their typical value is not. `docs/evidence/scores.md` has both tests' false alarms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qreg.stats.hodges_lehmann import hodges_lehmann, shift_interval
from qreg.stats.sign_flip import checked

Array = npt.NDArray[np.float64]

#: Up to this number of nonzero differences, the distribution is exact, even with ties.
EXACT = 60


def signed_rank(differences: npt.ArrayLike) -> float:
    """One-sided p-value for differences below zero.

    Zeros are left out, as Wilcoxon has it: they speak for neither side. Equal sizes share the mean
    of their ranks. The distribution is exact, given the ranks, up to `EXACT` differences; beyond,
    it is scipy's normal approximation with its correction for ties and for continuity.

    Args:
        differences: new score minus old score of each sample (N,), higher being better.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    values = checked(differences)
    moved = values[values != 0]
    if len(moved) == 0:
        return 1.0
    # half a second to import, which only those pay who ask for it
    from scipy import stats

    if len(moved) > EXACT:
        found = stats.wilcoxon(moved, alternative="less", correction=True, method="approx")
        return float(found.pvalue)
    # twice a shared rank is a whole number
    ranks = np.rint(2 * stats.rankdata(np.abs(moved))).astype(np.int64)
    return _tail(ranks, int(ranks[moved > 0].sum()))


def _tail(ranks: npt.NDArray[np.int64], total: int) -> float:
    """P(the ranks with a positive sign sum to `total` or less), signs being even."""
    ways = np.ones(1)
    for rank in ranks:
        with_rank = np.concatenate([np.zeros(rank), ways])
        with_rank[: len(ways)] += ways
        ways = with_rank / 2
    return min(1.0, float(ways[: total + 1].sum()))


def typical_change(differences: npt.ArrayLike, *, level: float) -> tuple[float, float, float]:
    """Hodges and Lehmann's estimate of the change of a sample, with its interval.

    Zeros and ties stay in: with them the interval holds at least as often as `level` says. So few
    differences that there is no such interval have the one from the smallest to the largest.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    values = checked(differences)
    try:
        low, high = shift_interval(values, level=level)
    except ValueError:
        low, high = float(values.min()), float(values.max())
    return hodges_lehmann(values), low, high
