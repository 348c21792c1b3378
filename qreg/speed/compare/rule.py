"""The decision rule for "is it slower?": a group-sequential test with a few planned looks.

The data of a case are log ratios, one per pair of fresh processes: the log of the candidate's 5th
percentile of call times over the baseline's. The sample size is the number of pairs, not of calls:
times vary far less within a process than between processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qreg.records.verdict import Outcome
from qreg.speed.compare.detectable import Reach, detectable_shift
from qreg.speed.records import Speed
from qreg.stats.hodges_lehmann import hodges_lehmann, shift_interval
from qreg.stats.holm import FAMILY_ALPHA, holm

#: Practical threshold: a smaller slowdown is never REGRESSED, whatever its p-value.
THRESHOLD = 0.01
#: PASS excludes a slowdown above this margin, the smallest one the rule is designed to detect.
MARGIN = 0.03
#: The same with several threads, whose wall time on a shared machine is that of the slowest: looser
#: limits, for slowdowns that a single thread does not show at all.
LOOSE_THRESHOLD, LOOSE_MARGIN = 0.05, 0.15
#: Numbers of pairs at which the data are analysed. 8 is the smallest number whose exact test can
#: reach 1 %; most cases are decided there, in half a minute.
LOOKS = (8, 12, 16)
#: Significance level spent at each look. They add up to `FAMILY_ALPHA`, so the looks need no joint
#: distribution. The first is the smallest that 8 pairs can reach, 1/256, rounded up.
SPENT = (0.004, 0.003, 0.003)
#: Confidence level of the interval at each look. Half of the remainder, 0.5 %, also bounds the
#: probability that a true slowdown of `MARGIN` passes at that look.
LEVEL = 0.99
#: The fewest pairs that have an interval at `LEVEL`, and so the fewest that can be judged.
FEWEST = 8


@dataclass(frozen=True)
class Look:
    """An analysis after `pairs` pairs with a false alarm probability of at most `alpha`."""

    pairs: int
    alpha: float


@dataclass(frozen=True)
class SequentialPlan:
    """The looks and limits of a run, fixed before the first pair.

    Attributes:
        cases: number of cases of the run: Holm's procedure covers all of them at every look.
        threshold: the smallest slowdown, as a share, that can be REGRESSED.
        margin: the slowdown that a PASS excludes.
    """

    looks: tuple[Look, ...]
    cases: int
    threshold: float = THRESHOLD
    margin: float = MARGIN

    def __post_init__(self) -> None:
        if not math.isclose(sum(look.alpha for look in self.looks), FAMILY_ALPHA):
            raise ValueError(f"{self.looks} do not spend {FAMILY_ALPHA}")
        if self.margin < self.threshold or not 1 <= self.cases <= most_cases(self.looks):
            raise ValueError(f"margin {self.margin}, {self.cases} cases")

    @property
    def pairs(self) -> int:
        """The maximum number of pairs."""
        return self.looks[-1].pairs


def most_cases(looks: Sequence[Look]) -> int:
    """How many cases a run may have: the smallest p-value of n pairs is 2**-n."""
    return max(int(look.alpha * 2**look.pairs) for look in looks)


def make_plan(*, cases: int, pairs: int = LOOKS[-1], threads: int = 1) -> SequentialPlan:
    """The plan for at most `pairs` pairs: the `LOOKS` below that number, and a last look at it.

    Raises:
        ValueError: `pairs` is odd or too small: each order needs its reverse.
    """
    if pairs % 2 or pairs < FEWEST:
        raise ValueError(f"{pairs} pairs")
    numbers = [*(n for n in LOOKS if n < pairs), pairs]
    early = SPENT[: min(2, len(numbers) - 1)]
    late = len(numbers) - len(early)
    spent = [*early, *([(FAMILY_ALPHA - sum(early)) / late] * late)]
    looks = tuple(map(Look, numbers, spent))
    return (
        SequentialPlan(looks, cases)
        if threads == 1
        else SequentialPlan(looks, cases, LOOSE_THRESHOLD, LOOSE_MARGIN)
    )


def single_look(*, pairs: int, cases: int) -> SequentialPlan:
    """The plan that always runs all its pairs, so that no estimate depends on early stopping.

    Raises:
        ValueError: as `make_plan`.
    """
    if pairs % 2 or pairs < FEWEST:
        raise ValueError(f"{pairs} pairs")
    return SequentialPlan((Look(pairs, FAMILY_ALPHA),), cases)


def judge_look(
    ratios: Sequence[Sequence[float]], plan: SequentialPlan, *, detectable: bool = True
) -> tuple[Speed, ...]:
    """Judge the undecided cases, all after the same number of pairs; INCONCLUSIVE: continue.

    Args:
        detectable: whether to compute the smallest detectable slowdown, which takes most of the
            time; NaN where not.

    Raises:
        ValueError: the plan has no look at that number of pairs.
    """
    look = next((look for look in plan.looks if look.pairs == len(ratios[0])), None)
    if look is None:
        raise ValueError(f"no look at {len(ratios[0])} pairs")
    found = [describe(one, plan, detectable=detectable) for one in ratios]
    # A case decided at an earlier look counts as not rejected at this one: this is conservative.
    others = [1.0] * (plan.cases - len(found))
    slower = holm([*(speed.p_slower for speed in found), *others], alpha=look.alpha)
    faster = holm([*(speed.p_faster for speed in found), *others], alpha=look.alpha)
    last = look is plan.looks[-1]
    return tuple(
        _judged(speed, slow, fast, plan, last=last)
        for speed, slow, fast in zip(found, slower, faster, strict=False)
    )


def describe(ratios: Sequence[float], plan: SequentialPlan, *, detectable: bool = True) -> Speed:
    """Estimate, interval and p-values, without a judgement; needs at least `FEWEST` pairs."""
    low, high = shift_interval(ratios, level=LEVEL)
    smallest = detectable_shift(ratios, _reaches(plan)) if detectable else math.nan
    return Speed(
        outcome=Outcome.INCONCLUSIVE,
        pairs=len(ratios),
        change=math.expm1(hodges_lehmann(ratios)),
        low=math.expm1(low),
        high=math.expm1(high),
        p_slower=_wilcoxon(np.asarray(ratios)),
        p_faster=_wilcoxon(-np.asarray(ratios)),
        spread=float(np.std(ratios, ddof=1)),
        detectable=math.expm1(smallest),
    )


def _reaches(plan: SequentialPlan) -> tuple[Reach, ...]:
    """The requirements of each look on one case, at the level of Holm's first step."""
    threshold, margin = math.log1p(plan.threshold), math.log1p(plan.margin)
    return tuple(
        Reach(look.pairs, look.alpha / plan.cases, threshold, margin, LEVEL) for look in plan.looks
    )


def _wilcoxon(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Exact one-sided p-value of the Wilcoxon signed-rank test for values above zero."""
    from scipy import stats

    # The exact distribution holds for values without zeros: zeros count against the alternative.
    signed = np.where(values == 0, -np.finfo(np.float64).tiny, values)
    return float(stats.wilcoxon(signed, alternative="greater", method="exact").pvalue)


def _judged(speed: Speed, slower: bool, faster: bool, plan: SequentialPlan, *, last: bool) -> Speed:
    return replace(speed, outcome=_outcome(speed, slower, faster, plan, last=last))


def _outcome(
    speed: Speed, slower: bool, faster: bool, plan: SequentialPlan, *, last: bool
) -> Outcome:
    if slower and speed.change > plan.threshold:
        return Outcome.REGRESSED
    if faster and speed.change < -plan.threshold:
        return Outcome.IMPROVED
    excluded = speed.high <= plan.margin and speed.change <= plan.threshold
    unchanged = speed.low >= -plan.margin and speed.change >= -plan.threshold
    return Outcome.PASS if excluded and (last or unchanged) else Outcome.INCONCLUSIVE
