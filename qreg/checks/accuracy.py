"""Accuracy compared with the baseline's, paired by sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qreg.checks.samples import Rows, Shared, logit_rows
from qreg.records.baseline import Snapshot
from qreg.records.verdict import AccuracyChange, Check, Finding, MovedImage, Outcome
from qreg.stats.intervals import paired_change
from qreg.stats.mcnemar import critical_losses, detectable_drop, lost_more

# A PASS is based on a one-sided 95 % bound. It cannot cause a false alarm, so that it needs no
# correction for the number of cases.
_PASS_LEVEL = 0.90


def accuracy_change(shared: Shared, *, alpha: float) -> AccuracyChange:
    """Compare measurement and baseline on their common samples.

    The margin is the smallest drop that is significant at `alpha` for the observed number of
    flips: smaller ones cannot be distinguished from noise.
    """
    right_now = shared.observed == shared.labels
    right_before = shared.expected == shared.labels
    won = int(np.count_nonzero(right_now & ~right_before))
    lost = int(np.count_nonzero(right_before & ~right_now))
    total = len(shared.index)
    change, low, high = paired_change(won, lost, total, level=_PASS_LEVEL)
    return AccuracyChange(
        total=total,
        expected=int(np.count_nonzero(right_before)),
        observed=int(np.count_nonzero(right_now)),
        won=won,
        lost=lost,
        change=change,
        low=low,
        high=high,
        p_value=lost_more(won, lost),
        detectable=detectable_drop(won + lost, total, alpha=alpha),
        margin=critical_losses(won + lost, alpha=alpha) / total,
    )


def judge_accuracy(change: AccuracyChange, *, alpha: float) -> Iterator[Finding]:
    """REGRESSED, IMPROVED, or INCONCLUSIVE where the interval extends beyond the margin."""
    worse, better = change.p_value, lost_more(change.lost, change.won)
    if worse <= alpha and -change.change >= change.margin:
        yield _finding(change, Outcome.REGRESSED, worse)
    elif better <= alpha:
        yield _finding(change, Outcome.IMPROVED, better)
    elif -change.low > change.margin:
        yield _finding(change, Outcome.INCONCLUSIVE, worse)


def _finding(change: AccuracyChange, outcome: Outcome, p_value: float) -> Finding:
    return Finding(
        check=Check.ACCURACY,
        outcome=outcome,
        expected=f"{change.expected / change.total:.2%} ({change.expected} of {change.total})",
        observed=f"{change.observed / change.total:.2%}, {change.change * 100:+.2f} points "
        f"({change.low * 100:+.2f} to {change.high * 100:+.2f})",
        allowed=f"a drop below {change.margin * 100:.2f} points",
        where=f"{change.lost} samples lost, {change.won} won",
        p_value=p_value,
    )


def moved_images(observed: Snapshot, baseline: Snapshot, shared: Shared) -> tuple[MovedImage, ...]:
    """The flips between the two, with margins where logits are stored."""
    rows = np.flatnonzero(shared.observed != shared.expected)
    before_margins = _margins(baseline, shared.baseline_rows[rows])
    margins = _margins(observed, shared.observed_rows[rows])
    # in the order of its fields
    columns = (shared.index, shared.labels, shared.expected, shared.observed)
    plain = (column[rows].tolist() for column in columns)
    found = zip(*plain, before_margins, margins, strict=True)
    return tuple(MovedImage(*one) for one in found)


def _margins(snapshot: Snapshot, positions: Rows) -> list[float | None]:
    """How far the largest logit is above the second, None where no logits are stored."""
    logits = snapshot.numerics.logits
    rows = logit_rows(logits, positions)
    if snapshot.score is not None or not logits.count or not len(rows):
        return [None] * len(rows)
    values = np.frombuffer(logits.values, dtype="<f4").reshape(logits.count, logits.classes)
    two = np.partition(values[rows.clip(min=0)], -2, axis=1)[:, -2:].astype(np.float64)
    apart = (two[:, 1] - two[:, 0]).tolist()
    return [one if row >= 0 else None for one, row in zip(apart, rows, strict=True)]
