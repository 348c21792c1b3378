"""From rows of statistics, one row per sample, to one number of the whole set.

Rows are float64 (N, K); ragged ones are padded with NaN. Only numpy is needed: the judging of
stored rows calls these without torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def mean(rows: Array) -> float:
    """The mean of the first column: of scores (N, 1)."""
    return float(rows[:, 0].mean())


def root_mean(rows: Array) -> float:
    """The square root of the mean of the first column: of squared errors (N, 1)."""
    return float(np.sqrt(rows[:, 0].mean()))


def ratio_of_sums(rows: Array) -> float:
    """Sum of the first column over sum of the second, 0 where that is 0.

    A word error rate, for example: rows are wrong words and words (N, 2).
    """
    parts, wholes = rows[:, 0].sum(), rows[:, 1].sum()
    return float(parts / wholes) if wholes else 0.0


def f1(rows: Array) -> float:
    """2 TP / (2 TP + FP + FN), of rows (TP, FP, FN); 1 where there is nothing to find or claim.

    Source: van Rijsbergen, "Information Retrieval" (1979).
    """
    true, false, missed = (float(rows[:, column].sum()) for column in range(3))
    claimed = 2 * true + false + missed
    return 2 * true / claimed if claimed else 1.0


def mean_iou(rows: Array) -> float:
    """Mean over the classes of summed intersections over summed unions.

    Rows are intersections, then unions, a column a class (N, 2 C). Classes that are neither wanted
    nor predicted anywhere are left out.

    Source: Everingham et al., "The PASCAL visual object classes challenge", IJCV 88 (2010).
    """
    sums = rows.sum(axis=0)
    shared, union = np.split(sums, 2)
    there = union > 0
    return float((shared[there] / union[there]).mean()) if there.any() else 1.0
