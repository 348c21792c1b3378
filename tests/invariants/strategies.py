"""Inputs aimed at where quantization breaks: ties, ends, neighbours, odd sizes, odd layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from tests.invariants.snippet import tensor_source

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

#: Around the vector widths of SSE, AVX2 and AVX-512, and the kernels' blocks of 32 and 64.
SIZES = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149
_SIZES_OF_TYPES = (2.0**23 + 1, 2.0**24, 2.0**31, 2.0**32, 2.0**33, 2.0**63, LARGEST)
_SIZES_OF_DENORMALS = (0.0, SMALLEST, 2.0**-127, 2.0**-126)
SPECIALS = np.array(
    [sign * size for sign in (1, -1) for size in (*_SIZES_OF_DENORMALS, 1.0, *_SIZES_OF_TYPES)],
    dtype=np.float32,
)
INFINITIES = np.array([np.inf, -np.inf], dtype=np.float32)


def powers_of_two(lowest: int = -126, highest: int = 100) -> st.SearchStrategy[float]:
    """Scales with which float32 division is exact."""
    common = st.sampled_from([k for k in (-7, 0, -3, 2, lowest, highest) if lowest <= k <= highest])
    return (common | st.integers(lowest, highest)).map(lambda k: 2.0**k)


def any_scales(lowest: int = -126, highest: int = 100) -> st.SearchStrategy[float]:
    """float32 scales from ``2 ** lowest`` to ``2 ** highest``, uniform in the exponent."""
    usual = st.sampled_from([0.1, 1 / 255, 0.02, 1.0, 1 / 3])
    made = st.builds(
        lambda mantissa, k: float(np.float32(mantissa * 2.0**k)),
        st.floats(1, 2, width=32, exclude_max=True),
        st.integers(lowest, highest - 1),
    )
    return usual.map(lambda s: float(np.float32(s))) | made


def zero_points(codes: tuple[int, int]) -> st.SearchStrategy[int]:
    """Any zero point in the range, often its ends, its middle, zero and odd ones."""
    lo, hi = codes
    often = [k for k in (0, lo, hi, (lo + hi) // 2, lo + 1, hi - 2) if lo <= k <= hi]
    return st.sampled_from(often) | st.integers(lo, hi)


@lru_cache(maxsize=256)
def interesting(scale: float, zero_point: int, codes: tuple[int, int]) -> Floats:
    """Every code's value, every tie, the ends, and all their neighbours, in float32."""
    lo, hi = codes[0] - zero_point, codes[1] - zero_point
    halves = np.arange(2 * lo - 5, 2 * hi + 6, dtype=np.float64) / 2
    with np.errstate(over="ignore", under="ignore"):
        points = (halves * scale).astype(np.float32)
        around = [np.nextafter(points, np.float32(end)) for end in (np.inf, -np.inf)]
    found = np.concatenate([points, *around, SPECIALS])
    return found[np.isfinite(found)]


def data(
    scale: float, zero_point: int, codes: tuple[int, int], *, infinite: bool = False
) -> st.SearchStrategy[Floats]:
    """One-dimensional float32 data for a scale and a zero point; sizes of `SIZES`."""
    pool = interesting(scale, zero_point, codes)
    if infinite:
        pool = np.concatenate([pool, INFINITIES])
    wide = st.floats(width=32, allow_nan=False, allow_infinity=infinite)
    span = (codes[1] - codes[0] + 4) * scale
    near = st.floats(-1, 1, width=32).map(lambda share: _float32(share * span))
    others = st.lists(wide | near, max_size=4)
    picks = st.sampled_from(SIZES).flatmap(lambda n: _picks(n, len(pool)))
    return st.builds(lambda chosen, more: _merge(pool[chosen], more), picks, others)


def _float32(value: float) -> float:
    return float(np.float32(np.clip(value, -LARGEST, LARGEST)))


def _picks(count: int, size: int) -> st.SearchStrategy[Codes]:
    # two bytes each, drawn at once: a list of integers takes longer than what it is drawn for
    drawn = st.binary(min_size=2 * count, max_size=2 * count)
    return drawn.map(lambda chosen: np.frombuffer(chosen, dtype=">u2").astype(np.int64) % size)


def _merge(chosen: Floats, others: list[float]) -> Floats:
    """`others` take the place of the last values, so that the size stays."""
    kept = others[: len(chosen)]
    head = chosen[: len(chosen) - len(kept)]
    return np.concatenate([head, np.array(kept, dtype=np.float32)])


def within(values: Floats, size: float) -> Floats:
    """The values, those farther from zero than `size` brought there."""
    if size >= LARGEST:
        return values
    return np.clip(values, np.float32(-size), np.float32(size))


@dataclass(frozen=True)
class Laid:
    """Values and the memory layout that a tensor of them has, as source."""

    values: npt.NDArray[Any]
    layout: str

    def source(self) -> str:
        return LAYOUTS[self.layout](self.values)


def _transposed(values: npt.NDArray[Any]) -> str:
    order = tuple(reversed(range(values.ndim)))
    return f"{tensor_source(values.transpose(order))}.permute({order})"


def _every_second(values: npt.NDArray[Any]) -> str:
    between = np.stack([values, np.full_like(values, 77)], axis=-1)
    return f"{tensor_source(between)}[..., 0]"


def _offset(values: npt.NDArray[Any]) -> str:
    longer = np.concatenate([np.full(1, 77, dtype=values.dtype), values.reshape(-1)])
    return f"{tensor_source(longer)}[1:].reshape({values.shape})"


def _channels_last(values: npt.NDArray[Any]) -> str:
    return f"{tensor_source(values)}.contiguous(memory_format=torch.channels_last)"


LAYOUTS: dict[str, Callable[[npt.NDArray[Any]], str]] = {
    "contiguous": tensor_source,
    "transposed": _transposed,
    "every second": _every_second,
    "offset": _offset,
    "channels_last": _channels_last,
}


def shapes(size: int) -> Iterator[tuple[int, ...]]:
    """Shapes of `size` elements of 0, 1, 2 and 4 dimensions."""
    yield (size,)
    if size == 1:
        yield ()
    for rows in (2, 3, 7, 16):
        if size % rows == 0:
            yield (rows, size // rows)
            yield (1, rows, size // rows, 1)
            yield (size // rows, rows, 1, 1)


@st.composite
def laid_out(draw: st.DrawFn, flat: npt.NDArray[Any]) -> Laid:
    """The values in a drawn shape and layout."""
    shape = draw(st.sampled_from(list(shapes(flat.size))))
    names = ["contiguous", "transposed", "every second", "offset"]
    layout = draw(st.sampled_from(names + ["channels_last"] * (len(shape) == 4)))
    return Laid(flat.reshape(shape), layout)


@dataclass(frozen=True)
class TensorCase:
    """One tensor to quantize with one scale."""

    x: Laid
    scale: float
    zero_point: int
    codes: tuple[int, int]

    @property
    def inputs(self) -> dict[str, Any]:
        """The names that `Implementation`'s expressions use."""
        lo, hi = self.codes
        return {"x": self.x.source(), "s": self.scale, "z": self.zero_point, "lo": lo, "hi": hi}


@st.composite
def tensor_cases(
    draw: st.DrawFn,
    ranges: tuple[tuple[int, int], ...],
    *,
    scales: st.SearchStrategy[float] | None = None,
    infinite: bool = False,
    reach: float = math.inf,
) -> TensorCase:
    """A tensor with the parameters it is to be quantized with, at most `reach` steps from zero."""
    codes = draw(st.sampled_from(ranges))
    scale = draw(scales if scales is not None else powers_of_two() | any_scales())
    zero_point = draw(zero_points(codes))
    flat = within(draw(data(scale, zero_point, codes, infinite=infinite)), reach * scale)
    return TensorCase(draw(laid_out(flat)), scale, zero_point, codes)
