"""Is it slower? The rule, in one place, and a case's judgement at each look.

A case's data are log ratios, one a pair of fresh processes: log of the candidate's 5th percentile
of call times over the baseline's. The number of pairs is the sample size, not that of calls:
within a process times agree far better than between processes.
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

#: A slowdown below this is nobody's concern, whatever its p-value.
THRESHOLD = 0.01
#: PASS says that there is no slowdown above this: the one that the rule was made to find.
MARGIN = 0.03
#: The same of several threads, whose wall time on a shared machine waits for the slowest: a looser
#: gate, for what one thread does not show at all.
LOOSE_THRESHOLD, LOOSE_MARGIN = 0.05, 0.15
#: Numbers of pairs at which the data are looked at. 8 are the fewest whose exact test can reach
#: 1 %; most cases are decided there, in half a minute.
LOOKS = (8, 12, 16)
#: What each look may err; their sum is `FAMILY_ALPHA`, so no look need know of the others. The
#: first is the smallest that 8 pairs can reach, 1/256, rounded up.
SPENT = (0.004, 0.003, 0.003)
#: Of the interval at each look. Half of what is left, 0.5 %, is also the most by which a true
#: slowdown of `MARGIN` is taken for unchanged at that look.
LEVEL = 0.99
#: The fewest pairs that have an interval at `LEVEL`, and so the fewest that say anything.
FEWEST = 8


@dataclass(frozen=True)
class Look:
    """The data are looked at after so many pairs, erring with probability `alpha` at most."""

    pairs: int
    alpha: float


@dataclass(frozen=True)
class SequentialPlan:
    """When to look, and what counts; fixed before the first pair.

    Attributes:
        cases: how many the run has: Holm's procedure is over all of them at every look.
        threshold: the slowdown, as a share, below which nothing is REGRESSED.
        margin: the one that a PASS excludes.
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
        """The most that are run."""
        return self.looks[-1].pairs


def most_cases(looks: Sequence[Look]) -> int:
    """How many cases a run may have: the smallest p-value of n pairs is 2 to the power of -n."""
    return max(int(look.alpha * 2**look.pairs) for look in looks)


def make_plan(*, cases: int, pairs: int = LOOKS[-1], threads: int = 1) -> SequentialPlan:
    """The plan for at most so many pairs: `LOOKS` as far as they go, and the last.

    Raises:
        ValueError: `pairs` is odd or too few: an order and its reverse belong together.
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
    """The plan that always runs all its pairs, so that no estimate depends on when it ended.

    Raises:
        ValueError: as `make_plan`.
    """
    if pairs % 2 or pairs < FEWEST:
        raise ValueError(f"{pairs} pairs")
    return SequentialPlan((Look(pairs, FAMILY_ALPHA),), cases)


def judge_look(
    ratios: Sequence[Sequence[float]], plan: SequentialPlan, *, detectable: bool = True
) -> tuple[Speed, ...]:
    """Judge the cases that are still open, all after as many pairs; INCONCLUSIVE: go on.

    Args:
        detectable: whether to say what would have been found, which takes most of the time; NaN
            where not.

    Raises:
        ValueError: the plan has no look at that number of pairs.
    """
    look = next((look for look in plan.looks if look.pairs == len(ratios[0])), None)
    if look is None:
        raise ValueError(f"no look at {len(ratios[0])} pairs")
    found = [describe(one, plan, detectable=detectable) for one in ratios]
    # A case that was decided before counts as one that is not rejected now: that only errs less.
    others = [1.0] * (plan.cases - len(found))
    slower = holm([*(speed.p_slower for speed in found), *others], alpha=look.alpha)
    faster = holm([*(speed.p_faster for speed in found), *others], alpha=look.alpha)
    last = look is plan.looks[-1]
    return tuple(
        _judged(speed, slow, fast, plan, last=last)
        for speed, slow, fast in zip(found, slower, faster, strict=False)
    )


def describe(ratios: Sequence[float], plan: SequentialPlan, *, detectable: bool = True) -> Speed:
    """Everything but a judgement: at any number of pairs from `FEWEST` on."""
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
    """Each look's demands of one case, at the level of Holm's first step."""
    threshold, margin = math.log1p(plan.threshold), math.log1p(plan.margin)
    return tuple(
        Reach(look.pairs, look.alpha / plan.cases, threshold, margin, LEVEL) for look in plan.looks
    )


def _wilcoxon(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """The exact one-sided p-value of "the values lie around zero, not above"."""
    from scipy import stats

    # The exact distribution is that of values without zeros: they count against the claim.
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
