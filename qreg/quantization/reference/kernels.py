"""Integer kernels: what a quantized operator computes, in exact arithmetic.

Sources: Jacob et al. (2018), arXiv:1712.05877, sections 2.2 and 2.3: accumulate
``(qx - zx) * (qw - zw)`` in integers; and ONNX QLinearConv, whose padding is the input's zero
point. What becomes of the accumulators is in `requantization`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.quantization.reference.affine import Integers

Pair = tuple[int, int]


def linear(x: npt.ArrayLike, w: npt.ArrayLike, *, zx: int, zw: npt.ArrayLike = 0) -> Integers:
    """Accumulators (N, out) of ``x`` (N, in) and ``w`` (out, in), both quantized.

    `zw` is one zero point, or one for each output.
    """
    weights = np.asarray(w, dtype=np.int64)
    zeros = np.broadcast_to(np.asarray(zw, dtype=np.int64), len(weights))
    sums: Integers = (np.asarray(x, dtype=np.int64) - zx) @ (weights.T - zeros)
    return sums


def conv2d(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    *,
    zx: int,
    zw: npt.ArrayLike = 0,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Integers:
    """Accumulators (N, out, OH, OW) of ``x`` (N, C, H, W) and ``w`` (out, C / groups, KH, KW)."""
    weights = np.asarray(w, dtype=np.int64)
    zeros = np.broadcast_to(np.asarray(zw, dtype=np.int64), len(weights))
    taken = patches(
        x, weights.shape[2:], fill=zx, stride=stride, padding=padding, dilation=dilation
    )
    out = len(weights) // groups
    each = []
    for group in range(groups):
        columns = group_columns(taken, group, groups)
        mine = slice(group * out, (group + 1) * out)
        rows = weights[mine].transpose(0, 2, 3, 1).reshape(out, columns.shape[1])
        each.append(linear(columns, rows, zx=zx, zw=zeros[mine]))
    return as_images(np.concatenate(each, axis=1), taken.shape)


def patches(
    x: npt.ArrayLike, window: Any, *, fill: int, stride: Pair, padding: Pair, dilation: Pair
) -> Integers:
    """What each output position sees of ``x`` (N, C, H, W): (N, OH, OW, KH, KW, C)."""
    images = np.asarray(x, dtype=np.int64)
    (top, left), (kh, kw) = padding, window
    around = ((0, 0), (0, 0), (top, top), (left, left))
    padded = np.pad(images, around, constant_values=fill)
    rows = _positions(padded.shape[2], kh, stride[0], dilation[0])
    cols = _positions(padded.shape[3], kw, stride[1], dilation[1])
    taken = padded[:, :, rows[:, None, :, None], cols[None, :, None, :]]
    seen: Integers = taken.transpose(0, 2, 3, 4, 5, 1)
    return seen


def _positions(size: int, kernel: int, stride: int, dilation: int) -> Integers:
    """Indices (outputs, kernel) along one dimension."""
    outputs = (size - dilation * (kernel - 1) - 1) // stride + 1
    seen: Integers = np.add.outer(np.arange(outputs) * stride, np.arange(kernel) * dilation)
    return seen


def group_columns(taken: Integers, group: int, groups: int) -> Integers:
    """One group's channels of `patches`, a row (KH, KW, C / groups) for each position."""
    n, oh, ow, kh, kw, channels = taken.shape
    width = channels // groups
    mine = taken[..., group * width : (group + 1) * width]
    return mine.reshape(n * oh * ow, kh * kw * width)


def as_images(rows: Integers, shape: tuple[int, ...]) -> Integers:
    """Outputs (positions, out) of `patches` of that shape, as (N, out, OH, OW)."""
    n, oh, ow = shape[:3]
    images: Integers = rows.reshape(n, oh, ow, rows.shape[1]).transpose(0, 3, 1, 2)
    return images


def max_pool2d(
    q: npt.ArrayLike, window: Pair, *, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Integers:
    """Largest codes (N, C, OH, OW) in each window of ``q`` (N, C, H, W); padding never wins."""
    lowest = np.iinfo(np.int64).min
    taken = patches(q, window, fill=lowest, stride=stride, padding=padding, dilation=dilation)
    largest: Integers = taken.max(axis=(3, 4)).transpose(0, 3, 1, 2)
    return largest


def avg_pool2d(
    q: npt.ArrayLike, window: Pair, *, zero_point: int, stride: Pair, padding: Pair = (0, 0)
) -> npt.NDArray[np.object_]:
    """Means (N, C, OH, OW) of ``q - zero_point`` as rationals; padding counts as zero."""
    centred = np.asarray(q, dtype=np.int64) - zero_point
    taken = patches(centred, window, fill=0, stride=stride, padding=padding, dilation=(1, 1))
    sums = taken.sum(axis=(3, 4)).transpose(0, 3, 1, 2)
    means: npt.NDArray[np.object_] = sums.astype(object) * Fraction(1, window[0] * window[1])
    return means
