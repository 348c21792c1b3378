"""shapes10, the embedded dataset: ten kinds of shapes, drawn by integer arithmetic from a seed.

Every pixel is a function of (seed, split, canonical index) in 64-bit integers, so that the
images are the same bits on every platform and numpy version. The label of index i is i mod 10.

Random numbers are the counter-based output function of splitmix64 (Steele, Lea, Flood: "Fast
splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qreg.data.cache import cached_split
from qreg.data.dataset import FIRST_CALIBRATION, FIRST_GATE_SAMPLES, Dataset, Progress
from qreg.data.images import ImageSamples
from qreg.data.mixing import mix
from qreg.data.samples import SplitName
from qreg.data.shape_masks import SHAPES, Int

CLASSES = (
    "disk",
    "ring",
    "square",
    "frame",
    "triangle",
    "plus",
    "cross",
    "stripes",
    "checker",
    "crescent",
)
SIZES = {"train": 20_000, "test": 10_000}
SEED = 20_261_123
SIDE = 32
_CHUNK = 1000
_SUB = 16  # sub-pixel units a pixel
# round(1024 * cos) and round(1024 * sin) of k * 5 degrees, k = 0 .. 4; written out, because
# the last bit of a platform's cos is not promised.
_COS = np.array([1024, 1020, 1008, 989, 962], dtype=np.int64)
_SIN = np.array([0, 89, 178, 265, 350], dtype=np.int64)
_NOISE = 95  # chosen so that a trained simple_cnn lands between 70 and 90 %


class _Draws:
    """Random integers for a batch of images, each named by a counter."""

    def __init__(self, split: str, index: Int) -> None:
        stream = np.uint64(SEED * 2 + (split == "test"))
        keys = index.astype(np.uint64) + (stream << np.uint64(32))
        self._base = mix(keys) << np.uint64(12)
        self._next = 0

    def between(self, low: int, high: int) -> Int:
        """(N,) integers in [low, high]."""
        bits = mix(self._base + np.uint64(self._next)) >> np.uint64(20)
        self._next += 1
        drawn: Int = (bits % np.uint64(high - low + 1)).astype(np.int64) + low
        return drawn

    def pixels(self) -> npt.NDArray[np.uint64]:
        """(N, SIDE, SIDE) random 64-bit words."""
        counter = np.arange(SIDE * SIDE, dtype=np.uint64).reshape(SIDE, SIDE) + np.uint64(64)
        return mix(self._base[:, None, None] + counter)


def _draw(split: str, index: Int) -> npt.NDArray[np.uint8]:
    draws = _Draws(split, index)

    def each(values: Int) -> Int:
        return values[:, None, None]

    turn = draws.between(-4, 4)
    cos, sin = each(_COS[np.abs(turn)]), each(np.sign(turn) * _SIN[np.abs(turn)])
    radius = each(draws.between(6 * _SUB, 11 * _SUB))
    middle_x = each(draws.between(11 * _SUB, 21 * _SUB))
    middle_y = each(draws.between(11 * _SUB, 21 * _SUB))
    grid = np.arange(SIDE, dtype=np.int64) * _SUB + _SUB // 2
    dx, dy = grid[None, None, :] - middle_x, grid[None, :, None] - middle_y
    u, v = (cos * dx + sin * dy) >> 10, (cos * dy - sin * dx) >> 10
    shape = np.empty(u.shape, dtype=np.bool_)
    for label, draw in enumerate(SHAPES):
        rows = index % len(CLASSES) == label
        shape[rows] = draw(u[rows], v[rows], radius[rows])

    bar_at, bar_wide = each(draws.between(0, SIDE * _SUB)), each(draws.between(0, 3 * _SUB))
    upright = each(draws.between(0, 1)) == 1
    across = np.where(upright, grid[None, None, :], grid[None, :, None])
    bar = np.abs(across - bar_at)
    shape = shape & (bar > bar_wide)

    ramp_x, ramp_y = each(draws.between(-2, 2)), each(draws.between(-2, 2))
    steps = np.arange(SIDE, dtype=np.int64) - SIDE // 2
    ramp = ramp_x * steps[None, None, :] + ramp_y * steps[None, :, None]
    noise = draws.pixels()
    side = draws.between(0, 1) * 2 - 1
    images = np.empty((len(index), SIDE, SIDE, 3), dtype=np.uint8)
    for channel in range(3):
        ground = each(draws.between(70, 185))
        contrast = each(side * draws.between(10, 70))
        low = np.uint64(20 * channel)
        first = ((noise >> low) & np.uint64(255)).astype(np.int64)
        second = ((noise >> (low + np.uint64(8))) & np.uint64(255)).astype(np.int64)
        grain = ((first + second - 255) * _NOISE) >> 8
        images[..., channel] = np.clip(ground + ramp + contrast * shape + grain, 0, 255)
    return images


def generate(split: str, index: npt.ArrayLike, *, progress: Progress | None = None) -> ImageSamples:
    """Draw the images of the given canonical indices.

    Returns:
        ImageSamples: images uint8 (N, 32, 32, 3), labels (N,), index (N,).
    """
    wanted = np.asarray(index, dtype=np.int64)
    images = np.empty((len(wanted), SIDE, SIDE, 3), dtype=np.uint8)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        images[start : start + len(chunk)] = _draw(split, chunk)
        if progress is not None:
            progress(start + len(chunk), len(wanted))
    labels = (wanted % len(CLASSES)).astype(np.int64)
    return ImageSamples(images=images, labels=labels, index=wanted)


def _load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> ImageSamples:
    key = f"shapes10-{split}-{SEED}-{_NOISE}"
    return cached_split(key, lambda: generate(split, np.arange(SIZES[split]), progress=progress))


SHAPES10 = Dataset(
    name="shapes10",
    classes=CLASSES,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    load=_load,
    calibration=FIRST_CALIBRATION,
    samples=FIRST_GATE_SAMPLES,
)
