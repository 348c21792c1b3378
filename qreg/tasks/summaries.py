"""From rows of statistics, one row per sample, to one number of the whole set.

Rows are float64 (N, K); ragged ones are padded with NaN. Only numpy is needed: the judging of
stored rows calls these without torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qreg.stats.of_sums import OfSums

Array = npt.NDArray[np.float64]


def mean(rows: Array) -> float:
    """The mean of the first column: of scores (N, 1)."""
    return float(rows[:, 0].mean())


def root_mean(rows: Array) -> float:
    """The square root of the mean of the first column: of squared errors (N, 1)."""
    return float(np.sqrt(rows[:, 0].mean()))


def _ratio(sums: Array) -> float:
    parts, wholes = sums
    return float(parts / wholes) if wholes else 0.0


def _ratios(sums: Array) -> Array:
    parts, wholes = sums.T
    found: Array = np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes != 0)
    return found


#: Sum of the first column over sum of the second, 0 where that is 0. A word error rate, for
#: example: rows are wrong words and words (N, 2).
ratio_of_sums = OfSums(_ratio, _ratios)


def _f1(sums: Array) -> float:
    true, false, missed = map(float, sums)
    claimed = 2 * true + false + missed
    return 2 * true / claimed if claimed else 1.0


def _f1s(sums: Array) -> Array:
    true, false, missed = sums.T
    claimed = 2 * true + false + missed
    found: Array = np.divide(2 * true, claimed, out=np.ones_like(true), where=claimed != 0)
    return found


#: 2 TP / (2 TP + FP + FN), of rows (TP, FP, FN); 1 where there is nothing to find or claim.
#: Source: van Rijsbergen, "Information Retrieval" (1979).
f1 = OfSums(_f1, _f1s)


def _mean_iou(sums: Array) -> float:
    shared, union = np.split(sums, 2)
    there = union > 0
    return float((shared[there] / union[there]).mean()) if there.any() else 1.0


def _mean_ious(sums: Array) -> Array:
    shared, union = np.split(sums, 2, axis=1)
    there = union > 0
    shares = np.divide(shared, union, out=np.zeros_like(shared), where=there)
    classes = there.sum(axis=1)
    return np.where(classes > 0, shares.sum(axis=1) / np.maximum(classes, 1), 1.0)


#: Mean over the classes of summed intersections over summed unions. Rows are intersections, then
#: unions, a column a class (N, 2 C). Classes that are neither wanted nor predicted anywhere are
#: left out.
#: Source: Everingham et al., "The PASCAL visual object classes challenge", IJCV 88 (2010).
mean_iou = OfSums(_mean_iou, _mean_ious)
