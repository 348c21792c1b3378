"""States and runs as arrays by location, and the first difference between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.upgrade.records import Difference

Array = npt.NDArray[Any]
#: (layer, what) to values, in the order of the computation.
Arrays = Mapping[tuple[str, str], Array]


def first_difference(before: Arrays, after: Arrays) -> Difference | None:
    """The first location whose values are not bit-equal; None where all are."""
    for location in {**before, **after}:
        if location not in before or location not in after:
            here, there = ("present" if location in x else "absent" for x in (before, after))
            return Difference(*location, here, there)
        difference = _difference(location, before[location], after[location])
        if difference:
            return difference
    return None


def moved_rows(before: Array, after: Array) -> int:
    """Number of rows of logits that are not bit-equal; all of them where the shapes differ."""
    if before.shape != after.shape:
        return len(before)
    return len(moved_indices(before, after))


def moved_indices(before: Array, after: Array) -> Array:
    """Indices of the rows of logits (of equal shape) that are not bit-equal."""
    rows: Array = np.flatnonzero((_bits(before) != _bits(after)).any(axis=1))
    return rows


def _difference(location: tuple[str, str], before: Array, after: Array) -> Difference | None:
    if before.shape != after.shape or before.dtype != after.dtype:
        return Difference(*location, _kind(before), _kind(after))
    differ = _bits(before) != _bits(after)
    count = int(differ.sum())
    if not count:
        return None
    worst = _worst(before, after, differ)
    whole = before.dtype.kind in "iu"
    steps = abs(int(after.flat[worst]) - int(before.flat[worst])) if whole else None
    here, there = (_text(side.flat[worst], whole) for side in (before, after))
    return Difference(*location, here, there, count, before.size, steps)


def _bits(array: Array) -> Array:
    # 0.0 == -0.0 and NaN != NaN: floats are compared by their bits
    names = {"f4": "u4", "f8": "u8", "f2": "u2"}
    kind = names.get(f"{array.dtype.kind}{array.dtype.itemsize}")
    return np.ascontiguousarray(array).view(kind) if kind else array


def _worst(before: Array, after: Array, differ: Array) -> int:
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(after.astype(np.float64) - before.astype(np.float64))
    apart = np.where(differ, np.nan_to_num(apart, nan=np.inf, posinf=np.inf), -1.0)
    return int(np.argmax(apart))


def _kind(array: Array) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _text(value: Any, whole: bool) -> str:
    return str(int(value)) if whole else f"{float(value):.9g}"
