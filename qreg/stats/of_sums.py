"""Summaries of a set that are a function of sums over its samples: F1, mean IoU, an error rate.

Such a summary of thousands of exchanged sets is one product of matrices and one call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OfSums:
    """From rows of statistics (N, K) to the summary of their sums (K,).

    Attributes:
        one: the summary of one set, from its sums (K,).
        many: the same of M sets, from (M, K) to (M,).
    """

    one: Callable[[Array], float]
    many: Callable[[Array], Array]

    def __call__(self, rows: Array) -> float:
        """The summary of rows (N, K)."""
        return self.one(rows.sum(axis=0))

    def exchanging(
        self, candidate: Array, reference: Array, moved: npt.NDArray[np.int64]
    ) -> Callable[[npt.NDArray[np.bool_]], Array]:
        """Of masks (M, N) the changes (M,): what a sample adds to one set it takes from the other.

        See `qreg.stats.permutation.ManySets`.
        """
        first, second = candidate.sum(axis=0), reference.sum(axis=0)
        step = reference[moved] - candidate[moved]

        def exchanged(masks: npt.NDArray[np.bool_]) -> Array:
            steps = masks.astype(np.float64) @ step
            return self.many(first + steps) - self.many(second - steps)

        return exchanged

    def times(self, factor: float) -> OfSums:
        """This summary times a number."""
        return OfSums(lambda sums: factor * self.one(sums), lambda sums: factor * self.many(sums))
