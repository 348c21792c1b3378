"""The paired permutation test of a number that summarizes a whole set: mAP, mean IoU, F1.

Such a number is no mean of scores per sample, so that differences have no signs to flip. But if a
change of the model did nothing, each sample's outcome is as likely to come from the one model as
from the other: outcomes are exchanged sample by sample, and the summary is computed again.

Sources: Fisher, "The Design of Experiments", section 21 (1935); Noreen, "Computer-Intensive
Methods for Testing Hypotheses" (1989), as approximate randomization; Besag and Clifford,
"Sequential Monte Carlo p-values", Biometrika 78 (1991).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]
#: Turns rows of statistics (N, K), one row per sample, into the summary of the set.
Summarize = Callable[[Array], float]
#: Which of the changed samples are exchanged (M, N), in each of M sets.
Masks = npt.NDArray[np.bool_]
#: From masks (M, N) to the change of the summary in each of the sets (M,).
Exchanged = Callable[[Masks], Array]


@runtime_checkable
class ManySets(Protocol):
    """A summary that computes the changes of many exchanged sets at once."""

    def exchanging(
        self, candidate: Array, reference: Array, moved: npt.NDArray[np.int64]
    ) -> Exchanged | None:
        """The changes, candidate minus reference; None where it has to be done set by set.

        Args:
            candidate, reference: rows of statistics (N, K), padded with NaN.
            moved: positions of the samples that are exchanged.
        """

    def times(self, factor: float) -> Summarize:
        """This summary times a number."""


#: Up to this number of changed samples, all exchanges are enumerated.
EXACT = 10
#: Beyond that, the maximum number of random exchanges, and the number of extreme ones to stop at.
DRAWS, ENOUGH = 2_000, 50
#: Minimum number of random exchanges for estimating the spread.
FEWEST = 200
#: Sets drawn by the bootstrap: its standard error is within a tenth.
RESAMPLES = 50
#: The spread of a summary's change at a detectable drop, of that without one: the largest of the
#: summaries simulated in docs/evidence/scores.md, word error rate's, 1.15.
GROWTH = 1.16
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Permuted:
    """The result of the permutation test.

    Attributes:
        change: the candidate's summary minus the reference's.
        p_value: one-sided, for a fall of the summary.
        better: one-sided, for a rise of the summary.
        spread: standard deviation of the change under random exchanges.
        changed: samples whose rows differ.
    """

    change: float
    p_value: float
    better: float
    spread: float
    changed: int


def permutation(
    candidate: Array, reference: Array, summarize: Summarize, *, seed: int = 0
) -> Permuted:
    """Test whether a summary, of which more is better, has fallen.

    Exact for at most `EXACT` samples whose rows differ; a sample whose outcome is the same cannot
    move anything. Beyond, exchanges are drawn at random until `ENOUGH` of the changes are as
    extreme as the observed one. Where `DRAWS` do not suffice for that, the tail is that of the
    normal distribution with the spread of the drawn changes: a summary of many samples is close
    to a sum of small contributions. `docs/evidence/scores.md` shows what that does to false
    alarms. `scipy.stats.permutation_test` gives the same p-values without stopping early.

    Args:
        candidate, reference: rows of statistics (N, K), the same samples in the same order,
            padded with NaN where they have different lengths.

    Raises:
        ValueError: not as many rows of both, or none.
    """
    candidate, reference = paired_rows(candidate, reference)
    change = summarize(candidate) - summarize(reference)
    same = (candidate == reference) | (np.isnan(candidate) & np.isnan(reference))
    moved = np.flatnonzero(~same.all(axis=1))
    if len(moved) == 0:
        return Permuted(0.0, 1.0, 1.0, 0.0, 0)

    def one_by_one(masks: Masks) -> Array:
        return np.array(
            [_exchanged(candidate, reference, moved[mask], summarize) for mask in masks]
        )

    exchanged: Exchanged = one_by_one
    if isinstance(summarize, ManySets):
        exchanged = summarize.exchanging(candidate, reference, moved) or one_by_one
    if len(moved) <= EXACT:
        found = _all_exchanges(exchanged, len(moved))
        near = _ROUNDING * max(1.0, abs(change))
        return Permuted(
            change=change,
            p_value=float(np.mean(found <= change + near)),
            better=float(np.mean(found >= change - near)),
            spread=float(np.sqrt(np.mean(found**2))),
            changed=len(moved),
        )
    # what many sets cost at once is hardly more than a few
    ahead = 1 if exchanged is one_by_one else FEWEST
    worse, better, spread = _by_chance(exchanged, len(moved), change, seed=seed, ahead=ahead)
    return Permuted(change, worse, better, spread, len(moved))


def _exchanged(
    candidate: Array, reference: Array, rows: npt.NDArray[np.int64], of: Summarize
) -> float:
    first, second = candidate.copy(), reference.copy()
    first[rows], second[rows] = reference[rows], candidate[rows]
    return of(first) - of(second)


def _all_exchanges(exchanged: Exchanged, count: int) -> Array:
    numbers = np.arange(2**count)[:, None] >> np.arange(count)
    # exchanging the others instead gives the same change with the other sign
    half = exchanged((numbers & 1).astype(np.bool_)[: 2 ** (count - 1)])
    return np.concatenate([half, -half])


def _by_chance(
    exchanged: Exchanged, count: int, change: float, *, seed: int, ahead: int
) -> tuple[float, float, float]:
    """Both one-sided p-values, and the spread.

    Args:
        ahead: how many sets to compute at least at a time; those after the last hit that is needed
            are not used.
    """
    rng = np.random.default_rng(seed)
    near, hits = _ROUNDING * max(1.0, abs(change)), 0
    found: list[float] = []
    while len(found) < DRAWS and (hits < ENOUGH or len(found) < FEWEST):
        most = FEWEST - len(found) if len(found) < FEWEST else max(ENOUGH - hits, ahead)
        masks = [rng.integers(0, 2, size=count) for _ in range(min(most, DRAWS - len(found)))]
        drawn = exchanged(np.array(masks, dtype=np.bool_))
        # the tail on the side of the change; the distribution is symmetric
        tail_of = (drawn <= change + near) if change < 0 else (drawn >= change - near)
        if len(found) >= FEWEST:  # up to the draw of the last hit that is needed
            used = int(np.searchsorted(np.cumsum(tail_of), ENOUGH - hits)) + 1
            drawn, tail_of = drawn[:used], tail_of[:used]
        found += drawn.tolist()
        hits += int(tail_of.sum())
    spread = float(np.sqrt(np.mean(np.square(found))))
    if hits == ENOUGH and len(found) > FEWEST:
        tail = hits / len(found)
    elif hits >= ENOUGH:
        tail = (hits + 1) / (len(found) + 1)
    else:
        tail = max(float(special.ndtr(-abs(change) / spread)), 2.0**-count)
    other = min(1.0, 1 - tail + 1 / len(found))
    return (tail, other, spread) if change < 0 else (other, tail, spread)


def paired_rows(candidate: Array, reference: Array) -> tuple[Array, Array]:
    """Both as float64 (N, K), the shorter rows padded with NaN.

    Raises:
        ValueError: not as many rows of both, or none.
    """
    both = [np.asarray(rows, dtype=np.float64) for rows in (candidate, reference)]
    if any(rows.ndim != 2 for rows in both) or len(both[0]) != len(both[1]) or not len(both[0]):
        raise ValueError(f"rows of shapes {both[0].shape} and {both[1].shape}")
    width = max(rows.shape[1] for rows in both)
    padded = [
        np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=np.nan) for rows in both
    ]
    return padded[0], padded[1]


def detectable_drop_of_summary(spread: float, *, alpha: float, power: float) -> float:
    """The smallest drop of a summary that the test detects at level `alpha` with this power.

    A drop that is detectable also moves more samples, and further, than the present change does:
    `GROWTH` is by how much that widens its spread.
    """
    return float(special.ndtri(1 - alpha) + special.ndtri(power)) * GROWTH * spread


def spread_of_a_sample(rows: Array, summarize: Summarize, *, seed: int = 0) -> float:
    """The contribution of one sample to the standard error of a summary: the error times root N.

    Of a mean it is the standard deviation of the scores. By the bootstrap of `RESAMPLES` sets.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Ann. Stat. 7 (1979).
    """
    rng, count = np.random.default_rng(seed), len(rows)
    drawn = [summarize(rows[rng.integers(0, count, size=count)]) for _ in range(RESAMPLES)]
    return float(np.std(drawn)) * float(np.sqrt(count))
