from __future__ import annotations

import numpy as np
import torch

from qreg.data.batches import batches
from qreg.data.images import ImageSamples
from qreg.data.shapes10 import SHAPES10

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def _samples(images: np.ndarray) -> ImageSamples:
    count = len(images)
    return ImageSamples(images, np.zeros(count, np.int64), np.arange(count), **HALF)


def test_pixels_are_normalised_by_channel() -> None:
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[1, 2, 3] = (255, 0, 51)
    found = _samples(images).to_inputs(images)
    assert found.shape == (2, 3, 4, 5)
    assert found.dtype == torch.float32
    assert torch.allclose(found[1, :, 2, 3], torch.tensor([2.0, -2.0, (0.2 - 0.5) / 0.25]))


def test_a_read_only_array_is_not_written_to() -> None:
    images = np.full((1, 2, 2, 3), 9, np.uint8)
    images.flags.writeable = False
    _samples(images).to_inputs(images).add_(1)
    assert (images == 9).all()


def test_batches_cover_the_samples_in_order() -> None:
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    samples = _samples(images)
    found = list(samples.batches(3))
    assert [len(batch) for batch in found] == [3, 3, 1]
    assert [batch.index.tolist() for batch in found] == [[0, 1, 2], [3, 4, 5], [6]]
    joined = torch.cat([batch.inputs for batch in found])
    assert torch.equal(joined, samples.to_inputs(images))
    assert torch.equal(torch.cat(list(batches(samples, SHAPES10, size=3))), joined)
