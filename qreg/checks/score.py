"""Real-valued scores against the baseline's, paired sample by sample.

Scores of 0 and 1 go to the exact McNemar test, as accuracy does. The mean of real scores goes to
the paired sign-flip test, which is about the mean that is reported; `docs/evidence/scores.md`
shows why it is not the signed-rank test. A summary of a whole set, which is no mean, goes to the
paired permutation test over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from qreg.records.score import Score
from qreg.records.verdict import Check, Finding, Outcome, ScoreChange
from qreg.stats.intervals import paired_change
from qreg.stats.mcnemar import POWER, critical_losses, detectable_drop, lost_more
from qreg.stats.permutation import (
    ManySets,
    detectable_drop_of_summary,
    permutation,
    spread_of_a_sample,
)
from qreg.stats.sign_flip import critical_fall, detectable_fall, mean_interval, sign_flip
from qreg.stats.signed_rank import typical_change

Array = npt.NDArray[np.float64]
Summarize = Callable[[Array], float]

# As for accuracy: the bound that a PASS rests on is one-sided at 95 %.
_PASS_LEVEL = 0.90
MCNEMAR, SIGN_FLIP, PERMUTATION = "exact McNemar", "sign-flip", "permutation"


@dataclass(frozen=True, eq=False)
class _ScorePair:
    """Both scores on the samples they share, N of them, turned so that more is better."""

    observed: Array
    baseline: Array
    observed_rows: Array
    baseline_rows: Array
    summarize: Summarize
    sign: float


def judge_scores(
    observed: Score | None,
    baseline: Score | None,
    *,
    exact: bool,
    alpha: float,
    tolerance: float,
    summarize: Summarize | None,
) -> tuple[ScoreChange | None, tuple[Finding, ...]]:
    """The comparison, None where it cannot be made, and all findings; see `score_change`."""
    if observed is None or baseline is None:
        if observed is baseline:
            return None, ()
        texts = (f"task {one.task}" if one else "no scores" for one in (baseline, observed))
        return None, (_incomparable(*texts),)
    if findings := tuple(judge_task(observed, baseline)):
        return None, findings
    change = score_change(observed, baseline, alpha=alpha, tolerance=tolerance, summarize=summarize)
    found = tuple(judge_score(change, alpha=alpha))
    if exact and not any(one.outcome is Outcome.REGRESSED for one in found):
        found += tuple(judge_same_scores(observed, baseline))
    return change, found


def judge_task(observed: Score, baseline: Score) -> Iterator[Finding]:
    """Scores of another task, or none of the same samples, cannot be compared."""
    for old, new in (
        (f"task {baseline.task}", f"task {observed.task}"),
        (_description(baseline), _description(observed)),
    ):
        if old != new:
            yield _incomparable(old, new)
            return
    if not set(observed.index) & set(baseline.index):
        yield _incomparable("samples that the baseline has", f"none of {len(observed.index)}")


def _description(score: Score) -> str:
    """What the numbers are, so that those of another kind are not compared with them."""
    unit = f" in {score.unit}" if score.unit else ""
    bound = "" if score.span is None else f", at most {score.span!r} apart"
    kept = " of statistics" if score.rows else ""
    known = "" if score.predictions is None else ", with predictions"
    return (
        f"{score.name}{' of 0 or 1' if score.binary else ''}{bound}, "
        f"{score.summary}{unit}{kept}, {'higher' if score.higher_is_better else 'lower'} is better"
        f"{known}"
    )


def _incomparable(expected: str, observed: str) -> Finding:
    return Finding(Check.SCORE, Outcome.INCOMPARABLE, expected, observed, "the same")


def score_change(
    observed: Score,
    baseline: Score,
    *,
    alpha: float,
    tolerance: float = 0.0,
    summarize: Summarize | None = None,
) -> ScoreChange:
    """Compare the scores of measurement and baseline on the samples they share.

    The margin is the smallest worsening that is significant at `alpha` given how much the scores
    of single samples moved, beyond what `tolerance` lets by.

    Args:
        tolerance: what other kernels may change, as a share of the standard deviation of a
            sample's score in the baseline; see `qreg.checks.tolerances`. Scores of 0 and 1 need
            none.
        summarize: from rows of statistics to the summary, where that is of the whole set; the
            function is not in the records.

    Raises:
        ValueError: no sample in common, or a summary of the whole set without its function.
    """
    pair = _paired(observed, baseline, summarize)
    if observed.binary and baseline.binary and summarize is None:
        return _of_binary(observed, pair, alpha=alpha)
    made = _of_mean if summarize is None else _of_set
    return made(observed, pair, alpha=alpha, tolerance=tolerance)


def _paired(observed: Score, baseline: Score, summarize: Summarize | None) -> _ScorePair:
    _, here, there = np.intersect1d(observed.index, baseline.index, return_indices=True)
    if not len(here):
        raise ValueError("no sample in common")
    if summarize is None and (observed.rows or baseline.rows):
        raise ValueError(f"{observed.summary} is of the whole set: give its function")
    sign = 1.0 if observed.higher_is_better else -1.0
    values = [np.asarray(one.values)[rows] for one, rows in ((observed, here), (baseline, there))]
    if summarize is None:
        rows = [one[:, None] for one in values]
    else:
        rows = [_rows(one)[kept] for one, kept in ((observed, here), (baseline, there))]
    return _ScorePair(
        observed=sign * values[0],
        baseline=sign * values[1],
        observed_rows=rows[0],
        baseline_rows=rows[1],
        summarize=summarize or _mean,
        sign=sign,
    )


def _mean(rows: Array) -> float:
    return float(rows.mean())


def _rows(score: Score) -> Array:
    """Statistics (N, K), padded with NaN."""
    rows = score.rows or [(value,) for value in score.values]
    made = np.full((len(rows), max(1, *map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        made[number, : len(row)] = row
    return made


def _described(observed: Score, pair: _ScorePair) -> ScoreChange:
    """What holds whichever the test is; the rest is filled in."""
    typical, low, high = typical_change(pair.observed - pair.baseline, level=_PASS_LEVEL)
    ends = sorted((pair.sign * low, pair.sign * high))
    old, new = pair.summarize(pair.baseline_rows), pair.summarize(pair.observed_rows)
    return ScoreChange(
        task=observed.task,
        summary=observed.summary,
        unit=observed.unit,
        higher_is_better=observed.higher_is_better,
        test="",
        total=len(pair.observed),
        expected=old,
        observed=new,
        change=new - old,
        low=0.0,
        high=0.0,
        typical=pair.sign * typical,
        typical_low=ends[0],
        typical_high=ends[1],
        worse=int((pair.observed < pair.baseline).sum()),
        better=int((pair.observed > pair.baseline).sum()),
        p_value=1.0,
        p_better=1.0,
        floor=0.0,
        detectable=0.0,
        margin=0.0,
    )


def _of_binary(observed: Score, pair: _ScorePair, *, alpha: float) -> ScoreChange:
    found = _described(observed, pair)
    won, lost, total = found.better, found.worse, found.total
    _, low, high = paired_change(won, lost, total, level=_PASS_LEVEL)
    return replace(
        _with_interval(found, pair, low, high),
        test=MCNEMAR,
        p_value=lost_more(won, lost),
        p_better=lost_more(lost, won),
        detectable=detectable_drop(won + lost, total, alpha=alpha),
        margin=critical_losses(won + lost, alpha=alpha) / total,
    )


def _of_mean(observed: Score, pair: _ScorePair, *, alpha: float, tolerance: float) -> ScoreChange:
    found, differences = _described(observed, pair), pair.observed - pair.baseline
    low, high = mean_interval(differences, level=_PASS_LEVEL)
    floor = tolerance * float(pair.baseline.std())
    # a fall that the tolerance lets by is none
    forgiven = differences + floor
    return replace(
        _with_interval(found, pair, low, high),
        test=SIGN_FLIP,
        p_value=sign_flip(forgiven),
        p_better=sign_flip(floor - differences),
        floor=floor,
        detectable=floor + detectable_fall(differences, alpha=alpha),
        margin=floor + critical_fall(differences, alpha=alpha),
    )


def _oriented(pair: _ScorePair) -> Summarize:
    """The summary, turned so that more is better."""
    if isinstance(pair.summarize, ManySets):
        return pair.summarize.times(pair.sign)
    return lambda rows: pair.sign * pair.summarize(rows)


def _of_set(observed: Score, pair: _ScorePair, *, alpha: float, tolerance: float) -> ScoreChange:
    found, oriented = _described(observed, pair), _oriented(pair)
    tested = permutation(pair.observed_rows, pair.baseline_rows, oriented)
    floor = tolerance * spread_of_a_sample(pair.baseline_rows, oriented) if tolerance else 0.0
    half = float(special.ndtri(0.5 + _PASS_LEVEL / 2)) * tested.spread
    critical = -float(special.ndtri(alpha))
    drop = detectable_drop_of_summary(tested.spread, alpha=alpha, power=POWER)
    within = abs(tested.change) <= floor
    return replace(
        _with_interval(found, pair, tested.change - half, tested.change + half),
        test=PERMUTATION,
        p_value=1.0 if within else tested.p_value,
        p_better=1.0 if within else tested.better,
        floor=floor,
        detectable=max(floor, drop),
        margin=max(floor, critical * tested.spread),
    )


def _with_interval(change: ScoreChange, pair: _ScorePair, low: float, high: float) -> ScoreChange:
    """The interval in the direction of the summary, of one in which more is better."""
    ends = (low, high) if pair.sign > 0 else (-high, -low)
    return replace(change, low=ends[0], high=ends[1])


def judge_score(change: ScoreChange, *, alpha: float) -> Iterator[Finding]:
    """REGRESSED, IMPROVED, or INCONCLUSIVE where the interval reaches past the margin."""
    worst = -change.low if change.higher_is_better else change.high
    if change.p_value <= alpha:
        yield _finding(change, Outcome.REGRESSED, change.p_value)
    elif change.p_better <= alpha:
        yield _finding(change, Outcome.IMPROVED, change.p_better)
    elif worst > change.margin:
        yield _finding(change, Outcome.INCONCLUSIVE, change.p_value)


def judge_same_scores(observed: Score, baseline: Score) -> Iterator[Finding]:
    """In the same environment every score is what it was, to the bit, and what it is made of."""
    found, old = _by_sample(observed), _by_sample(baseline)
    shared = [index for index in observed.index if index in old]
    other = [index for index in shared if found[index] != old[index]]
    if other:
        where = f"sample {other[0]}" + (f" and {len(other) - 1} more" if len(other) > 1 else "")
        yield _exactly(f"{len(shared)} scores", f"{len(other)} of them differ", where)
    elif observed.index == baseline.index and observed.value != baseline.value:
        yield _exactly(
            f"{baseline.summary} {baseline.value!r}", f"{observed.value!r}", "of the same scores"
        )


def _by_sample(score: Score) -> dict[int, tuple[object, ...]]:
    rows = score.rows or [()] * len(score.index)
    codes = score.predictions or [None] * len(score.index)
    columns = zip(score.values, rows, codes, strict=True)
    return dict(zip(score.index, columns, strict=True))


def _exactly(expected: str, observed: str, where: str) -> Finding:
    return Finding(Check.SCORE, Outcome.REGRESSED, expected, observed, "equal bits", where)


def _finding(change: ScoreChange, outcome: Outcome, p_value: float) -> Finding:
    word = "drop" if change.higher_is_better else "rise"
    return Finding(
        check=Check.SCORE,
        outcome=outcome,
        expected=f"{change.summary} {amount(change, change.expected)} of {change.total} samples",
        observed=f"{amount(change, change.observed)}, {step(change, change.change)} "
        f"({step(change, change.low)} to {step(change, change.high)})",
        allowed=f"a {word} below {step(change, change.margin).lstrip('+')}",
        where=f"{change.worse} samples worse, {change.better} better, by the {change.test} test",
        p_value=p_value,
    )


def amount(change: ScoreChange, value: float) -> str:
    """The summary with its unit."""
    if change.unit == "%":
        return f"{value:.2%}"
    return f"{value:.4g} {change.unit}".rstrip()


def step(change: ScoreChange, value: float) -> str:
    """A change of the summary with its unit: of a share, in points."""
    if change.unit == "%":
        return f"{value * 100:+.2f} points"
    return f"{value:+.3g} {change.unit}".rstrip()
