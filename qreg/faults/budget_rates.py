"""How often a budget is KEPT, BROKEN or NOT SHOWN where the truth is known.

Simulated: paired answers or scores with a given true drop. Real: a quantized model and fp32, whose
change on the whole test split is the truth; each draw judges some of its samples, without
replacement. All go through the rule that the gate applies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from qreg.budget.rule import Evidence, Pair, judge_limits
from qreg.faults.results import BudgetRates
from qreg.records.budget import BudgetOutcome, Limits
from qreg.records.measurement import Measurement
from qreg.records.score import Score

BUDGET = 1.0  # points
#: How far the truth is from the budget, in points: negative where the budget is kept.
MISSES = (-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0)
SAMPLES = (1000, 10_000)
#: Shares of samples whose answer flips.
FLIPPING = (0.03, 0.1)
#: Samples of a real draw.
REAL_SAMPLES = 1000
# Of the simulated scores, the share of samples on which a third of the drop falls.
_RARE = 0.02


def simulated_shares(draws: int, samples: tuple[int, ...] = SAMPLES) -> Iterator[BudgetRates]:
    """Right and wrong answers: of so many samples a share flips, with a given true drop."""
    for count in samples:
        for flipping in FLIPPING:
            for miss in MISSES:
                drop = (BUDGET + miss) / 100
                lost, won = (flipping + drop) / 2, (flipping - drop) / 2
                rng = np.random.default_rng(0)
                drawn = rng.multinomial(count, [won, lost, 1 - won - lost], size=draws)
                found = Counter(
                    _judged(Pair(count, int(w), int(x), int(w + x)), BUDGET) for w, x, _ in drawn
                )
                yield _rates(f"{flipping:.0%} flip", count, miss, found)


def simulated_scores(draws: int, samples: tuple[int, ...] = SAMPLES) -> Iterator[BudgetRates]:
    """Real scores from 0 to 1: most samples move a little, one in fifty loses much."""
    for count in samples:
        for miss in MISSES:
            rng, found = np.random.default_rng(1), Counter[BudgetOutcome]()
            for _ in range(draws):
                before, now = _drawn_scores(rng, count, (BUDGET + miss) / 100)
                found[_judged(Pair(count, 0, 0, None, before), BUDGET, now)] += 1
            yield _rates("scores", count, miss, found)


def _drawn_scores(rng: np.random.Generator, count: int, drop: float) -> tuple[Score, Score]:
    before = rng.beta(8, 2, size=count)
    rare = rng.random(count) < _RARE
    moved = rng.normal(scale=0.03, size=count)
    change = moved - drop * 2 / 3 - np.where(rare, drop / 3 / _RARE, 0)
    return _score(before), _score(np.clip(before + change, -1, 2))


def real_draws(
    measured: Measurement, draws: int, size: int = REAL_SAMPLES, *, what: str = ""
) -> Iterator[BudgetRates]:
    """Draws of a model's own samples, judged by budgets around its true drop.

    Nothing for another task than classification, and for budgets below 0.

    Args:
        measured: of a quantized model, with its flips against fp32.
        what: its name in tables; by default the case's.
    """
    change = _changes(measured)
    if change is None:
        return
    truth, size = -100 * float(change.mean()), min(size, len(change))
    for miss in MISSES:
        points = truth - miss
        if points < 0:
            continue
        rng, found = np.random.default_rng(2), Counter[BudgetOutcome]()
        for _ in range(draws):
            drawn = change[rng.choice(len(change), size=size, replace=False)]
            won, lost = int((drawn > 0).sum()), int((drawn < 0).sum())
            found[_judged(Pair(size, won, lost, won + lost), points)] += 1
        yield _rates(what or str(measured.case), size, miss, found, truth=truth, of=len(change))


def _changes(measured: Measurement) -> npt.NDArray[np.int64] | None:
    """For each sample, 1 where it became right and -1 where it became wrong."""
    if measured.accuracy is None or not measured.agreements:
        return None
    positions = {index: position for position, index in enumerate(measured.accuracy.index)}
    change = np.zeros(measured.accuracy.total, np.int64)
    for flip in measured.agreements[0].flips:
        right, was_right = flip.observed == flip.label, flip.reference == flip.label
        change[positions[flip.index]] = int(right) - int(was_right)
    return change


def _judged(pair: Pair, points: float, score: Score | None = None) -> BudgetOutcome:
    """The result of a budget of so many points."""
    evidence = Evidence(score=score, file_bytes=0, pairs={"fp32": pair}, control="fp32")
    return judge_limits(Limits(max_drop=points), evidence)[0].result


def _rates(
    what: str,
    samples: int,
    miss: float,
    counts: Counter[BudgetOutcome],
    *,
    truth: float | None = None,
    of: int = 0,
) -> BudgetRates:
    return BudgetRates(
        what,
        samples,
        miss,
        kept=counts[BudgetOutcome.KEPT],
        broken=counts[BudgetOutcome.BROKEN],
        not_shown=counts[BudgetOutcome.NOT_SHOWN],
        truth=truth,
        of=of,
    )


def _score(values: npt.NDArray[np.float64]) -> Score:
    return Score(
        task="segmentation",
        name="IoU",
        higher_is_better=True,
        binary=False,
        index=tuple(range(len(values))),
        values=tuple(values.tolist()),
        summary="mean IoU",
        unit="%",
        value=float(values.mean()),
        span=3.0,
    )
