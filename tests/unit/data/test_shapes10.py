from __future__ import annotations

import numpy as np
import pytest

from qreg.data.shapes10 import CLASSES, SHAPES10, SIZES, generate

# Printed by this test when the dataset was frozen; the same on every platform and numpy.
FINGERPRINTS = {
    "train": "80691795c6effb20c445b0ffe466b33f22e85ae927f558236097fd7298705d65",
    "test": "2410ab77ca42952199ac01eacdb0865081ce351dce8ad8b983a20b8e99946658",
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_images_are_the_same_bits_everywhere(split: str) -> None:
    assert generate(split, np.arange(500)).fingerprint() == FINGERPRINTS[split]


def test_an_image_does_not_depend_on_those_drawn_with_it() -> None:
    together = generate("test", np.arange(1100))
    alone = generate("test", [3, 1005])
    assert (together.images[[3, 1005]] == alone.images).all()


def test_train_and_test_are_different_images() -> None:
    train, test = generate("train", np.arange(200)), generate("test", np.arange(200))
    assert not any((a == b).all() for a, b in zip(train.images, test.images, strict=True))


def test_classes_are_balanced() -> None:
    counts = np.bincount(generate("test", np.arange(1000)).labels)
    assert counts.tolist() == [100] * len(CLASSES)


def test_images_use_the_range_of_a_byte() -> None:
    images = generate("test", np.arange(300)).images
    assert images.min() < 10
    assert images.max() > 245
    assert images.mean() == pytest.approx(127, abs=10)


def test_progress_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    generate("test", np.arange(1500), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1000, 1500), (1500, 1500)]


def test_the_split_is_cached_and_has_its_size(own_cache: object) -> None:
    first = SHAPES10.load("test", data_dir=None, progress=None)
    assert len(first) == SIZES["test"]
    assert isinstance(first.images, np.memmap)
    assert SHAPES10.load("test", data_dir=None, progress=None).fingerprint() == first.fingerprint()
