"""Judging a budget: is each limit shown to be kept?

Drops are judged by non-inferiority on paired samples (`qreg.stats.non_inferiority`): Tango's
interval for right and wrong, Student's for the mean of real scores, the permutation test's spread
for a summary of a whole set. A share of flips is judged by the exact interval of Clopper and
Pearson. Every bound is one-sided at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from qreg.checks.score import score_change
from qreg.checks.speed_up import times
from qreg.checks.tolerances import SPEED_UP_SPREAD
from qreg.records.budget import Against, BudgetCheck, BudgetOutcome, Limits
from qreg.records.score import Score
from qreg.stats.intervals import clopper_pearson
from qreg.stats.non_inferiority import (
    LEVEL,
    NonInferiority,
    by_interval,
    non_inferior,
    non_inferior_scores,
    smallest_number,
)

Summarize = Callable[[npt.NDArray[np.float64]], float]
#: Number of measurements before a speed-up is called too small; each must show it.
LOOKS = 3
_Z = float(special.ndtri(LEVEL))


@dataclass(frozen=True, eq=False)
class Pair:
    """A case and another one on the same samples, `total` of them.

    Attributes:
        won, lost: samples that are right, and the other has wrong, and the reverse; 0 where there
            is a score.
        flips: samples that are predicted differently; None where the task has no predictions.
        score: the other's; None for classification.
        file_bytes: of the other's saved state dict; 0 where it was not asked for.
    """

    total: int
    won: int
    lost: int
    flips: int | None
    score: Score | None = None
    file_bytes: int = 0


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the limits of a case are judged by.

    Attributes:
        score: None for classification.
        file_bytes: of the saved state dict.
        pairs: with fp32 and with the control, by name.
        control: the name of the control.
        log_speed_ups: natural logs of the speed-up over fp32 at batch size 1, one a measurement;
            () where none was made.
        looks: number of measurements that must all show too small a speed-up.
        summarize: the summary of the task, where that is of a whole set.
    """

    score: Score | None
    file_bytes: int
    pairs: dict[str, Pair]
    control: str
    log_speed_ups: tuple[float, ...] = ()
    looks: int = LOOKS
    summarize: Summarize | None = None


def judge_limits(limits: Limits, evidence: Evidence) -> tuple[BudgetCheck, ...]:
    """One result for each limit, in the order of the table's keys."""
    found = []
    if limits.max_drop is not None:
        found.append(_judge_drop(limits.max_drop, limits.against, evidence))
    if limits.max_size is not None or limits.max_size_share is not None:
        found.append(_judge_size(limits, evidence))
    if limits.min_speed_up is not None:
        found.append(_judge_speed_up(limits.min_speed_up, evidence.log_speed_ups, evidence.looks))
    if limits.max_flips is not None or limits.max_flips_share is not None:
        found.append(_judge_flips(limits, evidence))
    return tuple(found)


def _judge_drop(points: float, against: Against | None, evidence: Evidence) -> BudgetCheck:
    name = evidence.control if against is Against.CONTROL else "fp32"
    pair, score = evidence.pairs.get(name), evidence.score
    if pair is None:
        return _not_measured("max-drop", f"{points:g} against {name}", points, f"no {name}")
    unit = "%" if score is None else score.unit
    scale = 100.0 if unit == "%" else 1.0
    shown_unit = unit if unit != "%" else "point" if points == 1 else "points"
    found = _non_inferior(evidence, pair, points / scale)
    low, high = (_finite(end * scale) for end in (found.low, found.high))
    worse = "drop" if score is None or score.higher_is_better else "rise"
    sign = 1 if worse == "drop" else -1
    ends = sorted((sign * found.low * scale, sign * found.high * scale))
    return BudgetCheck(
        limit="max-drop",
        result=found.outcome,
        allowed=f"a {worse} of at most {points:g} {shown_unit}".rstrip() + f" against {name}",
        observed=f"{sign * found.change * scale:+.3g} ({ends[0]:+.3g} to {ends[1]:+.3g}) "
        f"of {found.total:,}",
        bound=points,
        value=found.change * scale,
        low=low,
        high=high,
        needed=found.needed,
    )


def _non_inferior(evidence: Evidence, pair: Pair, max_drop: float) -> NonInferiority:
    score = evidence.score
    if score is None or pair.score is None:
        return non_inferior(pair.won, pair.lost, pair.total, max_drop=max_drop)
    return judge_drop(score, pair.score, max_drop=max_drop, summarize=evidence.summarize)


def judge_drop(
    candidate: Score, reference: Score, *, max_drop: float, summarize: Summarize | None
) -> NonInferiority:
    """Whether these samples show that the summary of a score drops by at most `max_drop`.

    Args:
        max_drop: in the unit of the summary, 0.005 for half a point of a share.
        summarize: for a summary of the whole set; see `qreg.checks.score.score_change`.
    """
    sign = 1.0 if candidate.higher_is_better else -1.0
    if summarize is not None:
        return _of_whole_set(candidate, reference, summarize, sign, max_drop)
    differences = sign * (np.array(candidate.values) - np.array(reference.values))
    if candidate.binary and reference.binary:
        won, lost = int((differences > 0).sum()), int((differences < 0).sum())
        return non_inferior(won, lost, len(differences), max_drop=max_drop)
    return non_inferior_scores(differences, max_drop=max_drop, span=candidate.span)


def _of_whole_set(
    candidate: Score, reference: Score, summarize: Summarize, sign: float, max_drop: float
) -> NonInferiority:
    """By the interval with which qreg reports the change of such a summary."""
    found = score_change(candidate, reference, alpha=1 - LEVEL, summarize=summarize)
    low, high = sorted((sign * found.low, sign * found.high))
    change, total = sign * found.change, found.total
    outcome = by_interval(low, high, max_drop)
    room, half = change + max_drop, change - low
    needed = total if outcome is BudgetOutcome.KEPT else None
    if needed is None and room > 0:
        needed = math.floor(total * (half / room) ** 2) + 1
    return NonInferiority(outcome, change, low, high, max_drop, total, needed)


def _judge_size(limits: Limits, evidence: Evidence) -> BudgetCheck:
    own = evidence.file_bytes
    if limits.max_size_share is None:
        assert limits.max_size is not None
        allowed, bound, value = f"at most {limits.max_size:g} MB", limits.max_size, own / 1e6
    else:
        reference = evidence.pairs["fp32"].file_bytes
        bound, value = limits.max_size_share * 100, 100 * own / reference
        allowed = f"at most {bound:g} % of fp32's {reference / 1e6:.3g} MB"
    return BudgetCheck(
        limit="max-size",
        result=BudgetOutcome.KEPT if value <= bound else BudgetOutcome.BROKEN,
        allowed=allowed,
        observed=f"{own / 1e6:.3f} MB"
        + ("" if limits.max_size_share is None else f", {value:.1f} %"),
        bound=bound,
        value=value,
    )


def _judge_speed_up(smallest: float, logs: Sequence[float], looks: int) -> BudgetCheck:
    """BROKEN where `looks` measurements all show it; the first alone shows that it is kept."""
    allowed = f"at least {smallest:.2f}x fp32's speed"
    if not logs:
        return _not_measured("min-speed-up", allowed, smallest, "no speed-up over fp32")
    limit, half = math.log(smallest), _Z * SPEED_UP_SPREAD
    results = [_by_interval(log - half, log + half, limit) for log in logs]
    broken = len(logs) >= looks and all(one is BudgetOutcome.BROKEN for one in results)
    result = BudgetOutcome.BROKEN if broken else results[0]
    if result is BudgetOutcome.BROKEN and not broken:
        result = BudgetOutcome.NOT_SHOWN
    log = max(logs) if len(logs) > 1 else logs[0]
    needed = 1 if result is BudgetOutcome.KEPT else None
    if result is BudgetOutcome.NOT_SHOWN and log > limit:
        needed = math.ceil((half / (log - limit)) ** 2)
    return BudgetCheck(
        limit="min-speed-up",
        result=result,
        allowed=allowed,
        observed=f"{times(log)} ({times(log - half)} to {times(log + half)})"
        + (f", the fastest of {len(logs)} measurements" if len(logs) > 1 else ""),
        bound=smallest,
        value=math.exp(log),
        low=math.exp(log - half),
        high=math.exp(log + half),
        needed=needed,
    )


def look_again(smallest: float, logs: Sequence[float]) -> bool:
    """Whether every measurement so far shows too small a speed-up, and another one is needed."""
    return len(logs) < LOOKS and max(logs) + _Z * SPEED_UP_SPREAD < math.log(smallest)


def _by_interval(low: float, high: float, limit: float) -> BudgetOutcome:
    if low > limit:
        return BudgetOutcome.KEPT
    return BudgetOutcome.BROKEN if high < limit else BudgetOutcome.NOT_SHOWN


def _judge_flips(limits: Limits, evidence: Evidence) -> BudgetCheck:
    pair, share = evidence.pairs["fp32"], limits.max_flips_share
    bound = float(limits.max_flips or 0) if share is None else share * 100
    allowed = f"at most {limits.max_flips if share is None else f'{bound:g} %'} flips"
    if pair.flips is None:
        return _not_measured("max-flips", allowed, bound, "the task has no predictions")
    flips, total = pair.flips, pair.total
    if share is None:
        result = BudgetOutcome.KEPT if flips <= bound else BudgetOutcome.BROKEN
        text = f"{flips} of {total:,}"
        return BudgetCheck("max-flips", result, allowed, text, bound, value=float(flips))
    low, high = clopper_pearson(flips, total, level=2 * LEVEL - 1)
    kept = high < share or (share == 1)
    result = BudgetOutcome.BROKEN if low > share else BudgetOutcome.NOT_SHOWN
    if kept:
        result = BudgetOutcome.KEPT
    needed = total if kept else None
    if result is BudgetOutcome.NOT_SHOWN and flips < share * total:
        needed = _needed_for_share(flips / total, share, total)
    return BudgetCheck(
        limit="max-flips",
        result=result,
        allowed=allowed,
        observed=f"{flips / total:.2%} ({low:.2%} to {high:.2%}) of {total:,}",
        bound=bound,
        value=100 * flips / total,
        low=100 * low,
        high=100 * high,
        needed=needed,
    )


def _needed_for_share(observed: float, share: float, total: int) -> int | None:
    """The smallest number of samples whose upper bound, at this share of flips, is below it."""

    def shown(samples: int) -> bool:
        flips = observed * samples
        return float(special.betaincinv(flips + 1, samples - flips, LEVEL)) < share

    return smallest_number(shown, total)


def _not_measured(limit: str, allowed: str, bound: float, reason: str) -> BudgetCheck:
    return BudgetCheck(limit, BudgetOutcome.NOT_SHOWN, allowed, f"not measured: {reason}", bound)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
