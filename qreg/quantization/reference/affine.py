"""Affine quantization of tensors, in exact rationals.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), arXiv:1712.05877, equations 1, 4 and 12; and the ONNX
operators QuantizeLinear and DequantizeLinear, ``saturate(round(x / scale) + zero_point)`` with
ties to even, the zero point added after rounding.

Scales are taken as the float32 numbers that kernels see. A per-channel parameter is an array
with one entry for each index of the axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.quantization.reference.rounding import clamp, round_half_even, to_float32

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
#: One value, or one for each channel.
Scales = float | npt.ArrayLike
ZeroPoints = int | npt.ArrayLike


def quantize(
    x: npt.ArrayLike,
    scale: Scales,
    zero_point: ZeroPoints,
    *,
    qmin: int,
    qmax: int,
    axis: int | None = None,
) -> Integers:
    """``clamp(round(x / scale) + zero_point)`` of float32 values of any shape.

    Infinities saturate.

    Raises:
        ValueError: a value is NaN, for which there is no definition, or a scale is not a
            positive finite number.
    """
    values = np.asarray(x, dtype=np.float32)
    if np.isnan(values).any():
        raise ValueError("NaN has no quantized value")

    def one(value: Any, step: Fraction, zero: int) -> int:
        if math.isinf(value):
            return qmax if value == math.inf else qmin
        return clamp(round_half_even(Fraction(float(value)) / step) + zero, qmin, qmax)

    return _each(one, values, scale, zero_point, axis, np.int64)


def dequantize(
    q: npt.ArrayLike, scale: Scales, zero_point: ZeroPoints, *, axis: int | None = None
) -> Floats:
    """``(q - zero_point) * scale``, rounded once to float32."""

    def one(value: Any, step: Fraction, zero: int) -> float:
        return to_float32((int(value) - zero) * step)

    return _each(one, np.asarray(q, dtype=np.int64), scale, zero_point, axis, np.float32)


def fake_quantize(
    x: npt.ArrayLike,
    scale: Scales,
    zero_point: ZeroPoints,
    *,
    qmin: int,
    qmax: int,
    axis: int | None = None,
) -> Floats:
    """Quantize, then dequantize (Jacob et al., equation 12).

    Raises:
        ValueError: as `quantize`.
    """
    q = quantize(x, scale, zero_point, qmin=qmin, qmax=qmax, axis=axis)
    return dequantize(q, scale, zero_point, axis=axis)


def exact_scale(scale: float) -> Fraction:
    """The float32 number nearest to `scale`, as a rational.

    Raises:
        ValueError: it is not a positive finite number.
    """
    rounded = to_float32(Fraction(float(scale))) if math.isfinite(scale) else math.inf
    if not 0 < rounded < math.inf:
        raise ValueError(f"a scale must be positive and finite, not {scale}")
    return Fraction(rounded)


def channelwise(parameter: npt.ArrayLike, ndim: int, axis: int | None) -> npt.NDArray[Any]:
    """A parameter, shaped so that it broadcasts against a tensor of `ndim` dimensions."""
    values = np.asarray(parameter)
    if axis is None:
        return values.reshape(())
    shape = [1] * ndim
    shape[axis] = values.size
    return values.reshape(shape)


def _each(
    one: Callable[[Any, Fraction, int], Any],
    values: npt.NDArray[Any],
    scale: Scales,
    zero_point: ZeroPoints,
    axis: int | None,
    dtype: Any,
) -> npt.NDArray[Any]:
    scales = channelwise(scale, values.ndim, axis)
    steps = np.vectorize(exact_scale, otypes=[object])(scales)
    zeros = channelwise(zero_point, values.ndim, axis)
    triples = np.broadcast(values, steps, zeros)
    flat = [one(value, step, int(zero)) for value, step, zero in triples]
    return np.array(flat, dtype=dtype).reshape(values.shape)
