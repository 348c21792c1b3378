"""Samples of one split, by canonical index; read in batches on demand."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from qreg.errors import DataError

if TYPE_CHECKING:
    from qreg.data.inputs import Inputs

SplitName = Literal["train", "test", "calibration"]
#: More classes than any classifier has; a label above is a mistake, and no class.
MOST_CLASSES = 100_000
Rows: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of samples as model inputs.

    Attributes:
        inputs: the model's inputs.
        targets: what its outputs are scored by, None where there are none; N class labels, int64,
            for classification.
        index: canonical indices (N,).
    """

    inputs: Inputs
    targets: Any
    index: Rows

    def __len__(self) -> int:
        return len(self.index)


class Samples(ABC):
    """Samples in canonical order, N of them.

    Attributes:
        index: int64 (N,), canonical indices, ascending.
        labels: int64 (N,), the class of each; None where they are not classes, or where that is
            not known before they are read.
    """

    index: Rows
    labels: Rows | None

    @property
    def notes(self) -> tuple[str, ...]:
        """Conversions of unusual samples: "3 images: 16-bit grey scaled"."""
        return ()

    @property
    def computed(self) -> bool:
        """Whether content is only known as floats that code computes, by this CPU's rounding."""
        return False

    def text(self, row: int) -> str:  # noqa: ARG002 - for those that have texts
        """What the sample at a position reads as; "" where its source does not say."""
        return ""

    @abstractmethod
    def rows(self, rows: Rows) -> Samples:
        """The samples at these positions, ascending."""

    @abstractmethod
    def read(self, rows: Rows) -> Batch:
        """The samples at these positions as one batch, in the order of `rows`.

        Raises:
            DataError: one cannot be read.
        """

    @abstractmethod
    def digests(self) -> tuple[int, ...]:
        """CRC-32 of each sample's content."""

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: npt.ArrayLike) -> Samples:
        """The samples with these canonical indices, those that are there, ascending."""
        return self.rows(np.flatnonzero(np.isin(self.index, np.asarray(index))))

    def head(self, count: int) -> Samples:
        """The first `count` samples by canonical index."""
        return self.rows(np.arange(min(count, len(self))))

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples, `size` at a time, in canonical order."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))

    def first(self, count: int) -> Batch:
        """The first `count` samples, or as many as there are, as one batch."""
        return self.read(np.arange(min(count, len(self))))

    def fingerprint(self) -> str:
        """sha256 of index and content, little-endian, in canonical order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.index, dtype="<i8").data)
        digest.update(np.asarray(self.digests(), dtype="<u4").data)
        return digest.hexdigest()


def check_index(index: Rows) -> None:
    """Refuse canonical indices that are not ascending.

    Raises:
        DataError: they are not, or one is there twice.
    """
    if len(index) > 1 and not bool(np.all(np.diff(index) > 0)):
        raise DataError(
            "canonical indices are not ascending, or not unique",
            hint="sort the samples by index",
        )
