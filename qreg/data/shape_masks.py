"""The ten shapes of shapes10, in integers: which pixels each one covers.

All take u and v (N, H, W), a pixel's place right and down of the shape's middle, and r (N, 1, 1),
its radius, all in sub-pixel units; they return a mask (N, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def inside(u: Int, v: Int, r: Int) -> Mask:
    """A square."""
    return np.maximum(np.abs(u), np.abs(v)) * 8 <= r * 7


def disk(u: Int, v: Int, r: Int) -> Mask:
    """A disk."""
    return u * u + v * v <= r * r


def ring(u: Int, v: Int, r: Int) -> Mask:
    """A disk with a hole."""
    return disk(u, v, r) & ((u * u + v * v) * 25 >= r * r * 9)


def frame(u: Int, v: Int, r: Int) -> Mask:
    """A square with a hole."""
    return inside(u, v, r) & (np.maximum(np.abs(u), np.abs(v)) * 2 >= r)


def triangle(u: Int, v: Int, r: Int) -> Mask:
    """A triangle, pointing up."""
    return (v * 2 <= r) & (np.abs(u) * 256 <= (v + r) * 148)


def plus(u: Int, v: Int, r: Int) -> Mask:
    """An upright cross."""
    across, along = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return (across <= r // 3) & (along <= r)


def cross(u: Int, v: Int, r: Int) -> Mask:
    """A cross on its corner."""
    d1, d2 = np.abs(u + v) * 128, np.abs(u - v) * 128
    # |u + v| is sqrt(2) times a distance: 181 / 128 is sqrt(2) to four digits
    covered: Mask = (np.minimum(d1, d2) <= r // 3 * 181) & (np.maximum(d1, d2) <= r * 181)
    return covered


def _cells(u: Int, r: Int) -> Int:
    cell = np.maximum(r * 7 // 20, 1)
    cells: Int = (u + 8 * cell) // cell
    return cells


def stripes(u: Int, v: Int, r: Int) -> Mask:
    """A square of upright stripes."""
    covered: Mask = inside(u, v, r) & (_cells(u, r) % 2 == 0)
    return covered


def checker(u: Int, v: Int, r: Int) -> Mask:
    """A square of a checkerboard."""
    covered: Mask = inside(u, v, r) & ((_cells(u, r) + _cells(v, r)) % 2 == 0)
    return covered


def crescent(u: Int, v: Int, r: Int) -> Mask:
    """A disk with a bite out of it."""
    return disk(u, v, r) & ~((u - r // 2) ** 2 + v * v <= (r * 3 // 4) ** 2)


#: In the order of shapes10's classes.
SHAPES: tuple[Callable[[Int, Int, Int], Mask], ...] = (
    disk,
    ring,
    inside,
    frame,
    triangle,
    plus,
    cross,
    stripes,
    checker,
    crescent,
)
