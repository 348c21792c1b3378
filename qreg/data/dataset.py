"""What a dataset is: images and labels by canonical index, and how it is normalised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from qreg.errors import DataError

SplitName = Literal["train", "test"]
#: Called with (done, total) while something long goes on.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Split:
    """Part of a dataset.

    Attributes:
        images: uint8 (N, H, W, 3), perhaps mapped from a file.
        labels: int64 (N,).
        index: int64 (N,), canonical indices, ascending.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.index)
        if self.images.ndim != 4 or self.images.shape[-1] != 3 or self.images.dtype != np.uint8:
            found = f"{self.images.dtype} {self.images.shape}"
            raise DataError(f"images are {found}", hint="they must be uint8 of shape (N, H, W, 3)")
        if not (len(self.images) == len(self.labels) == count):
            found = f"{len(self.images)} images, {len(self.labels)} labels, {count} indices"
            raise DataError(found, hint="there must be as many of each")
        if count > 1 and not bool(np.all(np.diff(self.index) > 0)):
            raise DataError(
                "canonical indices are not ascending, or not unique",
                hint="sort the samples by index",
            )

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: npt.ArrayLike) -> Split:
        """The samples with these canonical indices, those that are there, ascending."""
        return self._rows(np.flatnonzero(np.isin(self.index, np.asarray(index))))

    def head(self, count: int) -> Split:
        """The first `count` samples by canonical index."""
        return Split(self.images[:count], self.labels[:count], self.index[:count])

    def _rows(self, rows: npt.NDArray[np.int64]) -> Split:
        return Split(self.images[rows], self.labels[rows], self.index[rows])

    def fingerprint(self) -> str:
        """sha256 of index, labels and pixels, little-endian, in canonical order."""
        digest = hashlib.sha256()
        digest.update(np.ascontiguousarray(self.index, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


class SplitLoader(Protocol):
    """Loads one split of a dataset, decoded."""

    def __call__(
        self, split: SplitName, *, data_dir: Path | None, progress: Progress | None
    ) -> Split: ...


@dataclass(frozen=True)
class Dataset:
    """A dataset: its classes, how pixels become model inputs, and how a split is loaded.

    The model's input is ``(pixel / 255 - mean) / std``, per channel.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    load: SplitLoader
