from __future__ import annotations

import numpy as np
import pytest

from qreg.data.images import ImageSamples
from qreg.errors import DataError


def _split(count: int = 6, **changes: object) -> ImageSamples:
    fields: dict[str, object] = {
        "images": np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3),
        "labels": np.arange(count, dtype=np.int64) % 3,
        "index": np.arange(count, dtype=np.int64) * 10,
    }
    return ImageSamples(**{**fields, **changes})  # type: ignore[arg-type]


def test_take_goes_by_canonical_index_not_position() -> None:
    taken = _split().take([50, 10, 11])
    assert taken.index.tolist() == [10, 50]
    assert taken.labels.tolist() == [1, 2]
    assert (taken.images[1] == _split().images[5]).all()


def test_head() -> None:
    assert _split().head(2).index.tolist() == [0, 10]


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((6, 3, 2, 2), dtype=np.uint8)},
        {"images": np.zeros((6, 2, 2, 3), dtype=np.float32)},
        {"labels": np.zeros(5, dtype=np.int64)},
        {"index": np.array([0, 10, 20, 20, 30, 40])},
        {"index": np.array([0, 20, 10, 30, 40, 50])},
    ],
)
def test_what_is_not_a_split_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DataError):
        _split(**changes)


def test_fingerprint_sees_every_part() -> None:
    before = _split().fingerprint()
    pixels = _split().images.copy()
    pixels[3, 1, 1, 2] ^= 1
    assert _split(images=pixels).fingerprint() != before
    assert _split(labels=np.array([0, 1, 2, 0, 1, 1])).fingerprint() != before
    assert _split(index=np.array([0, 10, 20, 30, 40, 51])).fingerprint() != before
    assert _split().fingerprint() == before


def test_fingerprint_does_not_depend_on_memory_layout() -> None:
    turned = np.asfortranarray(_split().images)
    assert _split(images=turned).fingerprint() == _split().fingerprint()
