"""The paired sign-flip test of a mean change, and how small a change it can find.

If a change of the model did nothing, the score differences of the samples are as likely to be
negative as positive. The p-value is the share of all ways to choose their signs whose mean is at
most the observed one.

Sources: Fisher, "The Design of Experiments", section 21 (1935); Besag and Clifford, "Sequential
Monte Carlo p-values", Biometrika 78 (1991); Robinson, "Saddlepoint approximations for permutation
tests and confidence intervals", J. R. Stat. Soc. B 44 (1982); Lugannani and Rice, "Saddle point
approximation for the distribution of the sum of independent random variables", Adv. Appl. Prob.
12 (1980).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from qreg.stats.mcnemar import ALPHA, POWER

Array = npt.NDArray[np.float64]

#: Up to this number of nonzero differences, all sign combinations are enumerated.
EXACT = 18
#: Beyond that, the maximum number of random draws, and the number of extreme ones to stop at.
DRAWS, ENOUGH = 5_000, 50
# maximum number of values in memory
_BLOCK = 2_000_000
# tolerance for sums of the same numbers in another order
_ROUNDING = 1e-12


def sign_flip(differences: npt.ArrayLike, *, seed: int = 0) -> float:
    """One-sided p-value for a fall of the mean of the differences.

    Exact for at most `EXACT` nonzero differences. Beyond, signs are drawn at random until `ENOUGH`
    of the means are as low as the observed one; where `DRAWS` do not suffice for that, the small
    p-value is that of the saddlepoint approximation.

    Args:
        differences: new score minus old score of each sample (N,), higher being better.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    values = checked(differences)
    moved = values[values != 0]
    total, size = float(moved.sum()), float(np.abs(moved).sum())
    if len(moved) == 0:
        return 1.0
    limit = total + _ROUNDING * size
    if len(moved) <= EXACT:
        return float(np.mean(_all_sums(moved) <= limit))
    drawn = _by_chance(np.abs(moved), limit, seed=seed)
    return drawn if drawn is not None else _saddlepoint(np.abs(moved), -total)


def _all_sums(values: Array) -> Array:
    """The sums for all sign combinations (2^n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _by_chance(sizes: Array, limit: float, *, seed: int) -> float | None:
    """The sequential Monte Carlo p-value; None where there were too few draws."""
    rng = np.random.default_rng(seed)
    # the first draws usually suffice, because usually nothing has changed
    drawn, low, rows = 0, 0, 500
    while drawn < DRAWS:
        rows = max(1, min(rows, DRAWS - drawn, _BLOCK // len(sizes)))
        signs = rng.integers(0, 2, size=(rows, len(sizes)), dtype=np.int8)
        sums = 2 * (signs @ sizes) - sizes.sum()
        hits = low + np.cumsum(sums <= limit)
        if hits[-1] >= ENOUGH:
            return ENOUGH / float(drawn + np.searchsorted(hits, ENOUGH) + 1)
        low, drawn, rows = int(hits[-1]), drawn + rows, 2 * rows
    return None


def _saddlepoint(sizes: Array, total: float) -> float:
    """P(the signed sizes sum to `total` or more), for totals far in the tail.

    Robinson's approximation: the cumulant generating function of a sum of signed sizes is the sum
    of log cosh(s x size); Lugannani and Rice's formula gives its tail.
    """
    fewest = 2.0 ** -len(sizes)
    largest = float(sizes.sum())
    if total >= largest * (1 - _ROUNDING):
        return fewest
    scaled, target = sizes / sizes.max(), total / float(sizes.max())
    low, high = 0.0, 1.0
    while float(scaled @ np.tanh(high * scaled)) < target:
        low, high = high, 2 * high
        if high > 1e6:
            return fewest
    for _ in range(80):
        middle = (low + high) / 2
        if float(scaled @ np.tanh(middle * scaled)) < target:
            low = middle
        else:
            high = middle
    s = (low + high) / 2
    cumulant = float(np.sum(np.logaddexp(s * scaled, -s * scaled) - math.log(2)))
    curvature = float(np.sum((scaled / np.cosh(np.minimum(s * scaled, 350.0))) ** 2))
    w = math.sqrt(max(2 * (s * target - cumulant), 0.0))
    u = s * math.sqrt(curvature)
    if w == 0 or u == 0:
        return fewest
    tail = float(special.ndtr(-w)) + math.exp(-w * w / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / w)
    return min(1.0, max(fewest, tail))


def critical_fall(differences: npt.ArrayLike, *, alpha: float = ALPHA) -> float:
    """The fall of the mean that is significant at `alpha` among differences of these sizes.

    By the normal distribution, whose variance is that of the mean with random signs, the sum of
    squares over N^2: a smaller fall cannot be distinguished from noise.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    return -float(special.ndtri(alpha)) * standard_error(checked(differences))


def detectable_fall(
    differences: npt.ArrayLike, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest fall of the mean that the test detects at level `alpha` with this power.

    The centred observed differences are taken as the noise to which a fault adds a shift.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    values = checked(differences)
    error = standard_error(values - values.mean())
    return float(special.ndtri(1 - alpha) + special.ndtri(power)) * error


def standard_error(differences: Array) -> float:
    """Standard deviation of the mean when every difference (N,) has a random sign."""
    largest = float(np.abs(differences).max(initial=0.0))
    if largest == 0:
        return 0.0
    # scaled, so that squares neither overflow nor vanish
    squares = float(np.sum((differences / largest) ** 2))
    return largest * math.sqrt(squares) / len(differences)


def mean_interval(differences: npt.ArrayLike, *, level: float) -> tuple[float, float]:
    """Student's interval of the mean difference.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908). Where nothing changed it
    is that; one difference that is not zero has the interval of all numbers.

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    values = checked(differences)
    mean = float(values.mean())
    if not values.any():
        return 0.0, 0.0
    if len(values) == 1:
        return -math.inf, math.inf
    half = float(special.stdtrit(len(values) - 1, 0.5 + level / 2))
    # the sample's variance has one degree of freedom less
    error = standard_error(values - mean) * math.sqrt(len(values) / (len(values) - 1))
    return mean - half * error, mean + half * error


def checked(differences: npt.ArrayLike | Sequence[float]) -> Array:
    """The differences as float64 (N,).

    Raises:
        ValueError: there are none, or one is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"differences of shape {values.shape}, not (N,)")
    if not np.isfinite(values).all():
        raise ValueError(f"difference {int(np.flatnonzero(~np.isfinite(values))[0])} is not finite")
    return values
