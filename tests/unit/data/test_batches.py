from __future__ import annotations

import numpy as np
import torch

from qreg.data.batches import batches, to_input
from qreg.data.dataset import Split
from qreg.data.shapes10 import SHAPES10


def test_pixels_are_normalised_by_channel() -> None:
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[1, 2, 3] = (255, 0, 51)
    found = to_input(images, SHAPES10)
    assert found.shape == (2, 3, 4, 5)
    assert found.dtype == torch.float32
    assert torch.allclose(found[1, :, 2, 3], torch.tensor([2.0, -2.0, (0.2 - 0.5) / 0.25]))


def test_a_read_only_array_is_not_written_to() -> None:
    images = np.full((1, 2, 2, 3), 9, np.uint8)
    images.flags.writeable = False
    to_input(images, SHAPES10).add_(1)
    assert (images == 9).all()


def test_batches_cover_the_split_in_order() -> None:
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    split = Split(images, np.zeros(7, np.int64), np.arange(7))
    found = list(batches(split, SHAPES10, size=3))
    assert [len(batch) for batch in found] == [3, 3, 1]
    assert torch.equal(torch.cat(found), to_input(images, SHAPES10))
