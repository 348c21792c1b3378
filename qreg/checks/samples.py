"""The common samples of two snapshots, and whether their content is the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qreg.records.baseline import Snapshot
from qreg.records.numerics import Images, Logits
from qreg.records.verdict import Check, Finding, Outcome

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Shared:
    """The N common samples.

    Attributes:
        index, labels: canonical index and label (N,).
        observed_rows, baseline_rows: their rows in each snapshot (N,).
        observed, expected: classes predicted in the observed snapshot and in the baseline (N,).
        observed_unlike, baseline_unlike: whether fp32 predicts another class in each snapshot (N,).
        altered: number of samples with other content or another label in the baseline.
    """

    index: Rows
    labels: Rows
    observed_rows: Rows
    baseline_rows: Rows
    observed: Rows
    expected: Rows
    observed_unlike: Mask
    baseline_unlike: Mask
    altered: int


@lru_cache(maxsize=64)
def _columns(images: Images) -> tuple[Rows, Rows, Rows]:
    index = _column(images.index)
    return index, _or_zeros(images.labels, index), _column(images.digests)


def _or_zeros(numbers: Sequence[int], index: Rows) -> Rows:
    return _column(numbers) if numbers else np.zeros_like(index)


def _column(numbers: Sequence[int]) -> Rows:
    with contextlib.suppress(ValueError):  # up to 255, as classes are: a third of the time
        return np.frombuffer(bytes(numbers), dtype=np.uint8).astype(np.int64)
    # twice as fast as np.array
    return np.fromiter(numbers, dtype=np.int64, count=len(numbers))


def shared_images(observed: Snapshot, baseline: Snapshot) -> Shared:
    """The N samples with the same canonical index in both."""
    index, labels, digests = _columns(observed.numerics.images)
    old_index, old_labels, old_digests = _columns(baseline.numerics.images)
    # where there are no predictions, or no labels, they are equal
    seen, expected = (
        _or_zeros(observed.predictions, index),
        _or_zeros(baseline.predictions, old_index),
    )
    # both ascend: np.intersect1d would sort them together first
    rows = np.searchsorted(old_index, index).clip(max=len(old_index) - 1)
    here = np.flatnonzero(old_index[rows] == index)
    there = rows[here]
    altered = (labels[here] != old_labels[there]) | (digests[here] != old_digests[there])
    return Shared(
        index=index[here],
        labels=labels[here],
        observed_rows=here,
        baseline_rows=there,
        observed=seen[here],
        expected=expected[there],
        observed_unlike=_among(index[here], observed.numerics.disagreements),
        baseline_unlike=_among(index[here], baseline.numerics.disagreements),
        altered=int(np.count_nonzero(altered)),
    )


def _among(index: Rows, chosen: tuple[int, ...]) -> Mask:
    """Whether each of the ascending indices (N,) is among the chosen ones."""
    wanted, mask = _column(chosen), np.zeros(len(index), dtype=np.bool_)
    if len(index):
        # ten times as fast as np.isin
        rows = np.searchsorted(index, wanted).clip(max=len(index) - 1)
        mask[rows[index[rows] == wanted]] = True
    return mask


def logit_rows(logits: Logits, positions: Rows) -> Rows:
    """The row of the logits of the samples at these positions (N,), -1 where there is none."""
    if not logits.rows:
        return np.where(positions < logits.count, positions, -1)
    kept = _column(logits.rows)
    found = np.searchsorted(kept, positions).clip(max=len(kept) - 1)
    return np.where(kept[found] == positions, found, -1)


def judge_images(shared: Shared, observed: Snapshot, baseline: Snapshot) -> Iterator[Finding]:
    """INCOMPARABLE if the samples differ, INCONCLUSIVE if some are missing."""
    total = len(observed.numerics.images.index)
    if len(shared.index) == 0:
        yield Finding(
            check=Check.IMAGES,
            outcome=Outcome.INCOMPARABLE,
            expected="samples that the baseline has",
            observed=f"none of {total}",
            allowed="at least one in common",
        )
    elif shared.altered:
        yield Finding(
            check=Check.IMAGES,
            outcome=Outcome.INCOMPARABLE,
            expected="the baseline's samples and labels",
            observed=f"{shared.altered} of {len(shared.index)} samples differ",
            allowed="none",
        )
    elif missing := _missing(shared, observed, baseline):
        yield Finding(
            check=Check.IMAGES,
            outcome=Outcome.INCONCLUSIVE,
            expected="all samples that the baseline has",
            observed=f"{missing} of them are missing",
            allowed="none",
        )


def _missing(shared: Shared, observed: Snapshot, baseline: Snapshot) -> int:
    """Number of missing samples, among those with logits and those up to the last one observed.

    Later ones belong to the rest of a whole test set, which a run of the gate omits.
    """
    index = _columns(baseline.numerics.images)[0]
    gone = np.ones(len(index), dtype=np.bool_)
    gone[shared.baseline_rows] = False
    expected = logit_rows(baseline.numerics.logits, np.arange(len(index))) >= 0
    if not baseline.draw:
        expected |= index < observed.numerics.images.index[-1]
    return int(np.count_nonzero(gone & expected))
