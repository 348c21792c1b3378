"""From stored pixels to what a model is fed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from qreg.data.dataset import Dataset, Split


def to_input(images: npt.NDArray[np.uint8], dataset: Dataset) -> torch.Tensor:
    """uint8 (N, H, W, 3) to normalised float32 (N, 3, H, W), in channels_last memory order."""
    # A copy, because a mapped cache is read-only and torch tensors cannot be.
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    mean = torch.tensor(dataset.mean).view(1, 3, 1, 1)
    std = torch.tensor(dataset.std).view(1, 3, 1, 1)
    return pixels.div_(255.0).sub_(mean).div_(std)


def batches(split: Split, dataset: Dataset, *, size: int) -> Iterator[torch.Tensor]:
    """The split's images as model inputs, `size` at a time, in canonical order."""
    for start in range(0, len(split), size):
        yield to_input(split.images[start : start + size], dataset)
