"""Drawing samples of a split for calibration, judging or measuring, by one recorded rule.

The rule is part of a project's settings, which are read without numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qreg.errors import QregError

if TYPE_CHECKING:
    from qreg.data.samples import Rows, Samples

FIRST, RANDOM, STRATIFIED = "first", "random", "stratified"
WAYS = (STRATIFIED, RANDOM, FIRST)


@dataclass(frozen=True)
class Draw:
    """How samples are drawn from a split, the same ones on every platform.

    Attributes:
        size: maximum number of samples.
        how: ``stratified`` gives each class its share of the split, at least one sample, where
            the labels are known beforehand, else it is as ``random``; ``first`` are those whose
            canonical index is below `size`, or the first ones where there is no such index.
        seed: of the random draw.
    """

    size: int
    how: str = STRATIFIED
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in WAYS or not 1 <= self.size < 1 << 31 or not 0 <= self.seed < 1 << 31:
            raise QregError(
                f"a draw of {self.size} samples, '{self.how}', seed {self.seed}",
                hint=f"size of 1 or more (below 2^31), one of {', '.join(WAYS)}, seed of 0 or more",
            )

    @property
    def rule(self) -> str:
        """The recorded form, without the size; "" for the first samples."""
        return "" if self.how == FIRST else f"{self.how}, seed {self.seed}"

    def of(self, samples: Samples) -> Samples:
        """The samples drawn, in canonical order."""
        import numpy as np

        if self.how == FIRST:
            below = samples.rows(np.flatnonzero(samples.index < self.size))
            return below if len(below) else samples.head(self.size)
        return samples if len(samples) <= self.size else samples.rows(np.sort(self._rows(samples)))

    def _rows(self, samples: Samples) -> Rows:
        """Positions, of a split larger than the draw."""
        import numpy as np

        from qreg.data.mixing import mix

        words = samples.index.astype(np.uint64) + (np.uint64(self.seed) << np.uint64(32))
        order = np.argsort(mix(words), kind="stable")
        if self.how == RANDOM or samples.labels is None:
            return order[: self.size]
        return np.concatenate(_by_class(order, samples.labels, self.size))


def _by_class(order: Rows, labels: Rows, size: int) -> list[Rows]:
    """Positions in the order of `order`, with each class by its share."""
    import numpy as np

    classes, counts = np.unique(labels, return_counts=True)
    quotas = _quotas(counts, size)
    shuffled = labels[order]
    return [order[shuffled == c][:quota] for c, quota in zip(classes, quotas, strict=True)]


def _quotas(counts: Rows, size: int) -> Rows:
    """The number of samples per class, `size` in total, by largest remainders.

    No class is left out where there is a sample for each.
    """
    import numpy as np

    exact = counts * size / counts.sum()
    quotas = np.floor(exact).astype(np.int64)
    if size >= len(counts):
        quotas = np.maximum(quotas, 1)
    for _ in range(size, int(quotas.sum())):
        above = np.where(quotas > 1, quotas - exact, -np.inf)
        quotas[np.argmax(above)] -= 1
    by_remainder = np.argsort(-(exact - quotas), kind="stable")
    short = size - int(quotas.sum())
    quotas[by_remainder[:short]] += 1
    found: Rows = np.minimum(quotas, counts)
    return found


def missing_classes(samples: Samples, whole: Samples) -> tuple[int, ...]:
    """Classes of the whole split without a drawn sample."""
    import numpy as np

    if samples.labels is None or whole.labels is None:
        return ()
    return tuple(np.setdiff1d(whole.labels, samples.labels).tolist())
