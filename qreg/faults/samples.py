"""Samples of any kind with a fault in them: others' targets, or inputs of another scale."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from qreg.data import Batch, Samples, inputs
from qreg.data.samples import Rows


@dataclass(frozen=True, eq=False)
class ChangedSamples(Samples):
    """Samples whose targets are those of other positions, and whose floats are scaled.

    Attributes:
        base: the samples as they are.
        positions: of the inputs, in `base` (N,).
        targets_at: of the targets, in `base` (N,).
        factor: of all floats among the inputs.
    """

    base: Samples
    positions: Rows
    targets_at: Rows
    factor: float
    index: Rows
    labels: Rows | None = None

    @classmethod
    def of(
        cls, base: Samples, *, targets_at: Rows | None = None, factor: float = 1.0
    ) -> ChangedSamples:
        """All samples of `base`, with one of the two changes."""
        every = np.arange(len(base))
        targets = every if targets_at is None else targets_at
        labels = None if base.labels is None else base.labels[targets]
        return cls(base, every, targets, factor, base.index, labels)

    def rows(self, rows: Rows) -> ChangedSamples:
        """The samples at these positions, ascending."""
        labels = None if self.labels is None else self.labels[rows]
        places = self.positions[rows], self.targets_at[rows]
        return ChangedSamples(self.base, *places, self.factor, self.index[rows], labels)

    def read(self, rows: Rows) -> Batch:
        """The samples at these positions as one batch."""
        found = self.base.read(self.positions[rows])
        targets = found.targets
        if not np.array_equal(self.positions[rows], self.targets_at[rows]):
            targets = self.base.read(self.targets_at[rows]).targets
        given = inputs.mapped_float(found.inputs, lambda each: each * self.factor)
        return Batch(given, targets, self.index[rows])

    def digests(self) -> tuple[int, ...]:
        """Others than of `base` where something was changed."""
        found = np.asarray(self.base.digests(), np.int64)
        pairs = zip(self.positions.tolist(), self.targets_at.tolist(), strict=True)
        return tuple(
            int(found[here])
            if here == there and self.factor == 1.0
            else zlib.crc32(f"{found[here]} {found[there]} {self.factor}".encode())
            for here, there in pairs
        )
