"""Images of one size with a class label each, as arrays: decoded pixels, perhaps mapped."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qreg.data.samples import Batch, Rows, Samples, check_index
from qreg.errors import DataError

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]
Three = tuple[float, float, float]
# Numbers of a piece that is normalised at once: 1 MB of float32.
_PIECE = 1 << 18


@dataclass(frozen=True, eq=False)
class ImageSamples(Samples):
    """Images.

    The model's input is ``(pixel / 255 - mean) / std``, per channel.

    Attributes:
        images: uint8 (N, H, W, 3), perhaps mapped from a file.
        labels: int64 (N,).
        index: int64 (N,), canonical indices, ascending.
    """

    images: Pixels
    labels: Rows
    index: Rows
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    noted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.index)
        if self.images.ndim != 4 or self.images.shape[-1] != 3 or self.images.dtype != np.uint8:
            found = f"{self.images.dtype} {self.images.shape}"
            raise DataError(f"images are {found}", hint="they must be uint8 of shape (N, H, W, 3)")
        if not (len(self.images) == len(self.labels) == count):
            found = f"{len(self.images)} images, {len(self.labels)} labels, {count} indices"
            raise DataError(found, hint="there must be as many of each")
        check_index(self.index)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to images that are not plain RGB or grey."""
        return self.noted

    def rows(self, rows: Rows) -> ImageSamples:
        """The samples at these positions, ascending."""
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], index=self.index[rows]
        )

    def take(self, index: npt.ArrayLike) -> ImageSamples:
        """The samples with these canonical indices, those that are there, ascending."""
        return self.rows(np.flatnonzero(np.isin(self.index, np.asarray(index))))

    def head(self, count: int) -> ImageSamples:
        """The first `count` samples, not copied."""
        return replace(
            self,
            images=self.images[:count],
            labels=self.labels[:count],
            index=self.index[:count],
        )

    def read(self, rows: Rows) -> Batch:
        """The samples at these positions as one batch."""
        import torch

        labels = torch.from_numpy(self.labels[rows])
        return Batch(self.to_inputs(self.images[rows]), labels, self.index[rows])

    def to_inputs(self, images: Pixels) -> torch.Tensor:
        """uint8 (N, H, W, 3) to normalised float32 (N, 3, H, W), in channels_last memory order."""
        return normalized(images, self.mean, self.std)

    def digests(self) -> tuple[int, ...]:
        """CRC-32 of the pixels of each."""
        return tuple(zlib.crc32(np.ascontiguousarray(image).data) for image in self.images)

    def fingerprint(self) -> str:
        """sha256 of index, labels and pixels, little-endian, in canonical order."""
        digest = hashlib.sha256()
        digest.update(np.ascontiguousarray(self.index, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


def normalized(images: Pixels | Sequence[Pixels], mean: Three, std: Three) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W), in channels_last memory order.

    In pieces that fit a core's cache: four passes over a batch of large images take twice as long.
    """
    import torch

    height, width, _ = images.shape[1:] if isinstance(images, np.ndarray) else images[0].shape
    made = torch.empty(len(images), height, width, 3)
    pixels, rows = made.numpy(), made.view(-1, height, width * 3)
    # a row long, so that the same few numbers need not be looked up for each pixel
    middle, spread = (torch.tensor(three).repeat(width) for three in (mean, std))
    step = max(1, _PIECE // (height * width * 3))
    for start in range(0, len(images), step):
        for number in range(start, min(start + step, len(images))):
            pixels[number] = images[number]
        rows[start : start + step].div_(255.0).sub_(middle).div_(spread)
    return made.permute(0, 3, 1, 2)
