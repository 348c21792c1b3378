"""Confidence intervals of shares and of paired differences of shares."""

from __future__ import annotations

import math

# importing scipy.stats would add half a second to every `qreg compare`
from scipy import special

LEVEL = 0.95


def wilson(correct: int, total: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The Wilson score interval of a share.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927).

    Raises:
        ValueError: not 0 <= correct <= total, or total is 0.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} correct of {total}")
    z = float(special.ndtri(0.5 + level / 2))
    share, weight = correct / total, z * z / total
    middle = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / total + weight / total / 4)
    # at the ends of the range, rounding would give something like 1e-18
    low = 0.0 if correct == 0 else (middle - half) / (1 + weight)
    high = 1.0 if correct == total else (middle + half) / (1 + weight)
    return low, high


def clopper_pearson(count: int, total: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share, with a coverage of at least `level`.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the
    case of the binomial", Biometrika 26 (1934).

    Raises:
        ValueError: not 0 <= count <= total, or total is 0.
    """
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"{count} of {total}")
    tail = (1 - level) / 2
    low = float(special.betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return low, high


def paired_change(
    won: int, lost: int, total: int, *, level: float = LEVEL
) -> tuple[float, float, float]:
    """The change of a share between two measurements of the same samples, with its interval.

    `won` samples went from wrong to right and `lost` from right to wrong. The interval is the
    Wald interval of the paired difference with Bonett and Price's adjustment, one added to each
    of the two counts: "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", J. Educ. Behav. Stat. 37 (2012).

    Returns:
        tuple: change, low, high, each a share.

    Raises:
        ValueError: negative counts, or more changes than samples.
    """
    if won < 0 or lost < 0 or total < 1 or won + lost > total:
        raise ValueError(f"{won} won and {lost} lost of {total}")
    z = float(special.ndtri(0.5 + level / 2))
    up, down = (won + 1) / (total + 2), (lost + 1) / (total + 2)
    half = z * math.sqrt((up + down - (up - down) ** 2) / (total + 2))
    middle = up - down
    return (won - lost) / total, max(-1.0, middle - half), min(1.0, middle + half)
