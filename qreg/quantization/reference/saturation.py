"""Accumulation in pairs of saturating 16 bits, as CPUs without VNNI do it.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, PMADDUBSW:
unsigned times signed bytes, adjacent products added with signed saturation to 16 bits. AVX2 and
AVX-512 kernels without VPDPBUSD then widen the sums to 32 bits (PMADDWD by ones).

Which products are adjacent is the kernel's layout. Both layouts here were found by probing,
and are confirmed against the real kernels by tests/invariants/test_saturating_cpus.py:

- ``fbgemm``: a row is ordered (KH, KW, C), padded pixels hold the input's zero point;
- ``onednn``: the same, with channels filled up to an even count, padded pixels left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from qreg.quantization.reference.affine import Integers
from qreg.quantization.reference.kernels import Pair, as_images, patches

Layout = Literal["fbgemm", "onednn"]
_LOWEST, _HIGHEST = -(2**15), 2**15 - 1


@dataclass(frozen=True)
class PairSums:
    """What pair accumulation gives.

    Attributes:
        accumulators: the saturated sums, less the input's zero point times the weights.
        overflows: of the same shape, how many pairs of each sum saturated.
        pairs: how many pairs there are in each sum.
    """

    accumulators: Integers
    overflows: Integers
    pairs: int


def linear_in_pairs(x: npt.ArrayLike, w: npt.ArrayLike, *, zx: int) -> PairSums:
    """As `linear`, of uint8 codes ``x`` (N, in) and int8 codes ``w`` (out, in), zero point 0."""
    weights = np.asarray(w, dtype=np.int64)
    sums = _pair_sums(np.asarray(x), weights)
    return replace(sums, accumulators=sums.accumulators - zx * weights.sum(axis=1))


def conv2d_in_pairs(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    *,
    zx: int,
    layout: Layout,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> PairSums:
    """As `conv2d`, of uint8 codes ``x`` and int8 codes ``w`` with zero point 0."""
    weights, images = np.asarray(w, dtype=np.int64), np.asarray(x, dtype=np.int64)
    see = partial(
        patches, window=weights.shape[2:], stride=stride, padding=padding, dilation=dilation
    )
    whole_rows = layout == "fbgemm"
    codes = see(images, fill=zx if whole_rows else 0)
    inside = see(np.ones_like(images[:1]), fill=1 if whole_rows else 0)
    out = len(weights) // groups
    each = []
    for group in range(groups):
        kernel = weights[group * out : (group + 1) * out].transpose(0, 2, 3, 1)
        taken = _channels(codes, group, groups), _channels(inside, group, groups), kernel
        each.append(_group(*(taken if whole_rows else map(_even, taken)), zx=zx))
    return PairSums(
        as_images(np.concatenate([g.accumulators for g in each], axis=1), codes.shape),
        as_images(np.concatenate([g.overflows for g in each], axis=1), codes.shape),
        each[0].pairs,
    )


def _channels(taken: Integers, group: int, groups: int) -> Integers:
    width = taken.shape[-1] // groups
    return taken[..., group * width : (group + 1) * width]


def _group(codes: Integers, inside: Integers, kernel: Integers, *, zx: int) -> PairSums:
    """One group's sums, a row for each position and a column for each output channel."""
    rows = _flat(kernel, len(kernel))
    sums = _pair_sums(_flat(codes, math.prod(codes.shape[:3])), rows)
    seen = _flat(inside, math.prod(inside.shape[:3])) @ rows.T
    correction = np.tile(zx * seen, (len(codes), 1))
    return replace(sums, accumulators=sums.accumulators - correction)


def _flat(values: Integers, rows: int) -> Integers:
    return values.reshape(rows, values.size // rows)


def _pair_sums(left: Integers, right: Integers) -> PairSums:
    x, w = _even(left).astype(np.int32), _even(right).astype(np.int32)
    sums = np.zeros((len(x), len(w)), dtype=np.int64)
    hits = np.zeros_like(sums)
    for exact in _pairs(x, w):
        kept = np.clip(exact, _LOWEST, _HIGHEST)
        sums += kept
        hits += kept != exact
    return PairSums(sums, hits, x.shape[1] // 2)


def _pairs(x: npt.NDArray[np.int32], w: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.int32]]:
    """The exact sum of each two adjacent products, for every row of `x` and of `w`."""
    for k in range(0, x.shape[1], 2):
        yield np.outer(x[:, k], w[:, k]) + np.outer(x[:, k + 1], w[:, k + 1])


def _even(values: Integers) -> Integers:
    """Filled up with zeros to an even count along the last axis."""
    missing = values.shape[-1] % 2
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
