"""Which sites matter, how they rank, and the shortest list to leave in float; pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from qreg.budget.rule import judge_drop
from qreg.checks.score import score_change
from qreg.records.score import Score
from qreg.records.verdict import ScoreChange
from qreg.sensitivity.records import ScoreEffect, Verified

Array = npt.NDArray[np.float64]
Summarize = Callable[[Array], float] | None

#: Probability of any false claim that a site changes the score, over all measured sites; and of
#: one that a site differs from the one it is compared with.
LEVEL = 0.05
#: Sites with at least this share of the noise are measured on all samples: at most 50, however
#: many there are.
SMALLEST_NOISE = 0.02


def score_effect(candidate: Score, reference: Score, summarize: Summarize) -> ScoreEffect:
    """The paired change between two scores of the same samples.

    Args:
        summarize: for a summary of the whole set; see `qreg.checks.score.score_change`.
    """
    change = score_change(candidate, reference, alpha=LEVEL, summarize=summarize)
    return ScoreEffect(change, two_sided(change), flips(candidate, reference))


def two_sided(change: ScoreChange) -> float:
    """The two-sided p-value of a change."""
    return min(1.0, 2 * min(change.p_value, change.p_better))


def flips(candidate: Score, reference: Score) -> int | None:
    """The number of samples whose prediction differs; None where there are no predictions."""
    if candidate.predictions is None or reference.predictions is None:
        return None
    return sum(a != b for a, b in zip(candidate.predictions, reference.predictions, strict=True))


def noise_shares(errors: Sequence[float]) -> tuple[float, ...]:
    """Each error's share of their sum; 0 where all are 0. One that is not finite has all."""
    if any(not np.isfinite(error) for error in errors):
        return tuple(0.0 if np.isfinite(error) else 1.0 for error in errors)
    total = sum(errors)
    return tuple(error / total if total else 0.0 for error in errors)


def that_matter(shares: Sequence[float]) -> tuple[int, ...]:
    """The positions of the sites to measure in full, the noisiest first; at least one."""
    order = sorted(range(len(shares)), key=lambda n: -shares[n])
    found = tuple(n for n in order if shares[n] >= SMALLEST_NOISE)
    return found or tuple(order[:1])


def ranking(drops: Sequence[float | None], shares: Sequence[float]) -> tuple[int, ...]:
    """Positions, the most harmful first: by drop, then by noise; unmeasured sites follow by noise.

    Args:
        drops: of the sites measured in full, None for the others.
    """

    def key(n: int) -> tuple[bool, float, float]:
        drop = drops[n]
        return drop is None, -(drop or 0.0), -shares[n]

    return tuple(sorted(range(len(shares)), key=key))


def ties(scores: Sequence[Score], summarize: Summarize) -> tuple[bool, ...]:
    """For sites from the most harmful on, whether one cannot be told from the leader of its group.

    A group's leader is the first site whose scores differ, by the paired test at `LEVEL`, from the
    leader's before it.
    """
    found: list[bool] = []
    leader = 0
    for number, score in enumerate(scores):
        if number:
            change = score_change(score, scores[leader], alpha=LEVEL, summarize=summarize)
            tied = two_sided(change) > LEVEL
            leader = leader if tied else number
            found.append(tied)
        else:
            found.append(False)
    return tuple(found)


def verified(
    candidate: Score, reference: Score, *, max_drop: float, summarize: Summarize
) -> Verified:
    """Whether these samples show that the summary drops by at most `max_drop`.

    Judged as a budget is; see `qreg.budget.rule.judge_drop`.
    """
    judged = judge_drop(candidate, reference, max_drop=max_drop, summarize=summarize)
    return Verified(
        judged.outcome,
        candidate.value,
        drop=-judged.change,
        low=-judged.high,
        high=-judged.low,
        total=judged.total,
        needed=judged.needed,
    )


def worth_showing(short: int) -> int:
    """Up to how many layers a list may have that is shown to keep the budget.

    Compared with the `short` one that keeps it by estimate: on few samples, many more layers would
    only be there to narrow the interval.
    """
    return 2 * short + 2


def shortest(
    order: Sequence[str], within: Callable[[tuple[str, ...]], bool]
) -> tuple[tuple[str, ...], bool]:
    """A short list of layers to leave in float, and whether it is within the budget.

    The first layers of the order up to the budget, found by bisection; then each that is not
    needed is removed, the least harmful first. No single layer can be removed from the result.

    Args:
        order: the most harmful first.
        within: whether the budget is kept with these layers in float.
    """
    if within(()):
        return (), True
    everything = tuple(order)
    if not within(everything):
        return everything, False
    low, high = 0, len(everything)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if within(everything[:middle]) else (middle, high)
    kept = everything[:high]
    for layer in reversed(kept[:-1]):
        fewer = tuple(one for one in kept if one != layer)
        if within(fewer):
            kept = fewer
    return kept, True
