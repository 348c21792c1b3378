"""The exact McNemar test on flips, and the smallest drop it can detect.

Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
percentages", Psychometrika 12 (1947); exact by the binomial distribution of the losses among
the samples whose correctness changed.
"""

from __future__ import annotations

import math
from functools import lru_cache

from scipy import special

#: The significance level and power of detectable drops.
ALPHA, POWER = 0.05, 0.80


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p-value for equally likely wins and losses.

    Raises:
        ValueError: a count is negative.
    """
    if won < 0 or lost < 0:
        raise ValueError(f"{won} won and {lost} lost")
    if won + lost == 0:
        return 1.0
    # with equal probabilities both tails are the same
    return min(1.0, 2 * float(special.bdtr(min(won, lost), won + lost, 0.5)))


def lost_more(won: int, lost: int) -> float:
    """Exact one-sided p-value of `lost` or more losses if wins are equally likely.

    Raises:
        ValueError: a count is negative.
    """
    if won < 0 or lost < 0:
        raise ValueError(f"{won} won and {lost} lost")
    return float(special.bdtrc(lost - 1, won + lost, 0.5)) if lost else 1.0


@lru_cache(maxsize=4096)  # the cases of a run repeat the same arguments
def critical_losses(changed: int, *, alpha: float = ALPHA) -> int:
    """The smallest surplus of losses over wins that is significant among `changed` samples.

    Where losses alone would not suffice, the number needed without any win.
    """
    alone = math.ceil(-math.log2(alpha))
    if changed <= alone:
        return alone
    return 2 * _critical(changed, alpha) - changed


@lru_cache(maxsize=4096)
def detectable_drop(
    changed: int, total: int, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest detectable accuracy drop of the one-sided exact test, as a share.

    The observed flips are taken as noise: `changed` samples, on average half of them won and half
    lost, to which a fault adds losses only. The returned drop is detected with at least `power` at
    level `alpha`; a drop by one sample less is not.

    Raises:
        ValueError: not 0 <= changed <= total, or total is 0.
    """
    if not 0 <= changed <= total or total < 1:
        raise ValueError(f"{changed} changed of {total}")
    low, high = 0, 1
    while _power(changed, high, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(changed, middle, alpha) >= power else (middle, high)
    return min(1.0, high / total)


def _power(changed: int, added: int, alpha: float) -> float:
    """The power to detect `added` losses among `changed` balanced flips."""
    flips = changed + added
    critical = _critical(flips, alpha)
    if critical > flips:
        return 0.0
    return float(special.bdtrc(critical - 1, flips, (changed / 2 + added) / flips))


def _critical(flips: int, alpha: float) -> int:
    """The smallest count of losses whose one-sided p-value is at most alpha."""
    critical = int(special.bdtrik(1 - alpha, flips, 0.5))
    while critical <= flips and special.bdtrc(critical - 1, flips, 0.5) > alpha:
        critical += 1
    return critical
