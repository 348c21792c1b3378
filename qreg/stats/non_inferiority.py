"""Non-inferiority: is a drop shown to stay within the owner's budget?

A test that finds no difference does not show that there is none. Non-inferiority reverses the
burden of proof: a budget is KEPT where the confidence interval excludes every larger drop, BROKEN
where it excludes every smaller one, and NOT SHOWN otherwise, with the number of samples needed to
show it.

Sources: Tango, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17 (1998), for scores of 0 and 1; Student, "The
probable error of a mean", Biometrika 6 (1908), for real scores; CHMP, "Guideline on the choice of
the non-inferiority margin" (2005), for judging by one end of an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from qreg.records.budget import BudgetOutcome
from qreg.stats.sign_flip import checked, mean_interval

#: The confidence that a budget is kept, or broken: each end of the interval is one-sided.
LEVEL = 0.95
#: Upper limit of the number of needed samples; beyond it, no number is reported.
MOST_SAMPLES = 10**9


@dataclass(frozen=True)
class NonInferiority:
    """A change compared with the largest allowed drop.

    Attributes:
        change, low, high: of the mean score, higher being better; each end is a one-sided bound
            at the given level.
        max_drop: the largest allowed drop.
        total: number of samples.
        needed: number of samples needed to show that the budget is kept, if further ones are like
            these; `total` where it is shown; None where the change exceeds the budget.
    """

    outcome: BudgetOutcome
    change: float
    low: float
    high: float
    max_drop: float
    total: int
    needed: int | None


def non_inferior(
    won: int, lost: int, total: int, *, max_drop: float, level: float = LEVEL
) -> NonInferiority:
    """Judge a share of right answers: `won` samples became right, and `lost` wrong.

    Args:
        max_drop: as a share, 0.005 for half a point.

    Raises:
        ValueError: impossible counts, or a drop or level that is not one.
    """
    _check(max_drop, level)
    low, high = tango(won, lost, total, level=2 * level - 1)
    change = (won - lost) / total
    outcome = by_interval(low, high, max_drop)
    needed = total if outcome is BudgetOutcome.KEPT else None
    if needed is None and change > -max_drop:
        needed = _needed_samples(won / total, lost / total, total, max_drop, level)
    return NonInferiority(outcome, change, low, high, max_drop, total, needed)


def non_inferior_scores(
    differences: npt.ArrayLike,
    *,
    max_drop: float,
    span: float | None = None,
    level: float = LEVEL,
) -> NonInferiority:
    """Judge the mean of real scores: new minus old of each sample (N,), higher being better.

    The interval is Student's, of the differences and of two more: one sample that loses all that
    a sample can lose, and one that gains it. Without them, a loss that few samples have is unseen
    in many draws, and the budget would be called kept. It is what Bonett and Price ("Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", J. Educ.
    Behav. Stat. 37 (2012)) add to wins and losses, where a sample can lose 1.

    Args:
        span: the largest change a score can have, 1 for a score from 0 to 1; None where there is
            no such bound: the largest change seen is taken for it.

    Raises:
        ValueError: no differences, one that is not finite or beyond the span, or a drop or level
            that is not one.
    """
    _check(max_drop, level)
    seen = checked(differences)
    total, change = len(seen), float(seen.mean())
    largest = float(np.abs(seen).max())
    if span is not None and not largest <= span < math.inf:
        raise ValueError(f"a change of {largest:g} where the span is {span:g}")
    step = largest if span is None else span
    values = np.concatenate([seen, [step, -step]])
    low, high = mean_interval(values, level=2 * level - 1)
    outcome = by_interval(low, high, max_drop)
    needed = total if outcome is BudgetOutcome.KEPT else None
    if needed is None and change > -max_drop:
        needed = _needed_scores(seen, step, total, max_drop, level)
    return NonInferiority(outcome, change, low, high, max_drop, total, needed)


def _needed_scores(
    differences: npt.NDArray[np.float64], step: float, total: int, max_drop: float, level: float
) -> int | None:
    """The smallest number of samples with this mean and spread that shows it."""
    change, squares = float(differences.mean()), float(np.mean(differences**2))

    def shown(samples: int) -> bool:
        count = samples + 2
        mean = change * samples / count
        variance = (squares * samples + 2 * step**2) / count - mean**2
        half = float(special.stdtrit(count - 1, level)) * math.sqrt(max(variance, 0) / (count - 1))
        return mean - half > -max_drop

    return smallest_number(shown, total)


def _check(max_drop: float, level: float) -> None:
    if not (math.isfinite(max_drop) and max_drop >= 0):
        raise ValueError(f"a largest drop of {max_drop}")
    if not 0.5 < level < 1:
        raise ValueError(f"a level of {level}, not between 0.5 and 1")


def by_interval(low: float, high: float, max_drop: float) -> BudgetOutcome:
    """Judge a change by the ends of its interval, higher being better.

    A drop of exactly 0 that cannot be larger keeps a budget of 0.
    """
    if low > -max_drop or low == 0 == max_drop:
        return BudgetOutcome.KEPT
    return BudgetOutcome.BROKEN if high < -max_drop else BudgetOutcome.NOT_SHOWN


def tango(won: float, lost: float, total: float, *, level: float) -> tuple[float, float]:
    """Tango's score interval of the change of a share between paired measurements.

    Raises:
        ValueError: negative counts, or more changes than samples.
    """
    if won < 0 or lost < 0 or total <= 0 or won + lost > total:
        raise ValueError(f"{won} won and {lost} lost of {total}")
    z = float(special.ndtri(0.5 + level / 2))
    change = (won - lost) / total
    # the score falls as the assumed change rises: +z at the lower end, -z at the upper one
    return (
        _bisect(lambda at: _score(won, lost, total, at) > z, -1.0, change),
        _bisect(lambda at: _score(won, lost, total, at) > -z, change, 1.0),
    )


def _score(won: float, lost: float, total: float, change: float) -> float:
    """Standardized distance between the observed change and an assumed one."""
    distance = won - lost - total * change
    # the most likely share of losses under the assumed change, (7) and (8) in the paper
    a, c = 2.0 * total, -lost * change * (1 - change)
    b = -won - lost + (2 * total - won + lost) * change
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = total * (2 * share + change * (1 - change))
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _bisect(above: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return (low + high) / 2


def _needed_samples(
    won: float, lost: float, total: int, max_drop: float, level: float
) -> int | None:
    """The smallest number of samples with these shares of wins and losses that shows it."""

    def shown(samples: int) -> bool:
        low, _ = tango(won * samples, lost * samples, samples, level=2 * level - 1)
        return low > -max_drop

    return smallest_number(shown, total)


def smallest_number(shown: Callable[[int], bool], total: int) -> int | None:
    """The smallest number of samples above `total` at which it is shown.

    None where that is more than `MOST_SAMPLES`.
    """
    low, high = total, 2 * total
    while not shown(high):
        low, high = high, 2 * high
        if high > MOST_SAMPLES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high
