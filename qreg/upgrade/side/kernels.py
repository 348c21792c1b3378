"""Quantized kernels of the current engine, compared with the integer oracle."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qreg.quantization import reference

Array = npt.NDArray[Any]
Equal = Callable[[npt.ArrayLike, npt.ArrayLike], str]
# Powers of two: the scaling of sums is then exact, and each code has one correct value.
_SX, _SW, _SY, _ZX, _ZY = 0.25, 0.125, 2.0, 9, 17
_REQUANTIZE = Fraction(_SX * _SW / _SY)


def _input(*shape: int) -> Array:
    # 7 bits: a CPU without VNNI adds these without saturating
    return np.random.default_rng(1).integers(0, 128, shape).astype(np.uint8)


def _weight(*shape: int) -> Array:
    return np.random.default_rng(2).integers(-64, 64, shape).astype(np.int8)


def _tensor(codes: Array, scale: float, zero: int) -> torch.Tensor:
    made: torch.Tensor = torch._make_per_tensor_quantized_tensor(torch.tensor(codes), scale, zero)
    return made


def _expected(sums: Array, *, relu: bool = False) -> Array:
    real = reference.scaled(sums, _REQUANTIZE)
    found: Array = reference.requantize(real, zero_point=_ZY, qmin=0, qmax=255, relu=relu)
    return found


def _apart_from_ties(
    equal: Equal, observed: torch.Tensor, sums: Array, *, relu: bool = False
) -> str:
    """Compare except at ties, which engines round differently."""
    ties = (sums * 2) % (2 * _REQUANTIZE.denominator) == _REQUANTIZE.denominator
    expected = _expected(sums, relu=relu)
    return equal(np.where(ties, 0, observed.int_repr().numpy()), np.where(ties, 0, expected))


def _linear(equal: Equal, *, relu: bool = False) -> str:
    x, w = _input(5, 32), _weight(7, 32)
    packed = torch.ops.quantized.linear_prepack(_tensor(w, _SW, 0), None)
    run = torch.ops.quantized.linear_relu if relu else torch.ops.quantized.linear
    found = run(_tensor(x, _SX, _ZX), packed, _SY, _ZY)
    return _apart_from_ties(equal, found, reference.linear(x, w, zx=_ZX), relu=relu)


def _conv(equal: Equal, *, groups: int = 1, dilation: int = 1, repeats: int = 1) -> str:
    x, w = _input(2, 8, 9, 9), _weight(8, 8 // groups, 3, 3)
    where = {"padding": (dilation, dilation), "dilation": (dilation, dilation)}
    packed = torch.ops.quantized.conv2d_prepack(
        _tensor(w, _SW, 0), None, [1, 1], [*where["padding"]], [*where["dilation"]], groups
    )
    sums = reference.conv2d(x, w, zx=_ZX, groups=groups, **where)
    said = ""
    for _ in range(repeats):
        torch.full((1 << 14,), 77, dtype=torch.uint8)  # dirty memory that may be reused
        found = torch.ops.quantized.conv2d(_tensor(x, _SX, _ZX), packed, _SY, _ZY)
        said = _apart_from_ties(equal, found, sums)
    return said


def _alone(equal: Equal) -> str:
    x, w = _input(4, 8, 9, 9), _weight(8, 8, 3, 3)
    packed = torch.ops.quantized.conv2d_prepack(_tensor(w, _SW, 0), None, [1, 1], [1, 1], [1, 1], 1)
    q = _tensor(x, _SX, _ZX)
    together = torch.ops.quantized.conv2d(q, packed, 0.3, _ZY).int_repr()
    alone = [torch.ops.quantized.conv2d(one, packed, 0.3, _ZY).int_repr() for one in q.split(1)]
    return equal(together, torch.cat(alone))


#: Checks by the property that they verify.
KERNELS: dict[str, Callable[[Equal], str]] = {
    "linear equals the oracle": _linear,
    "linear_relu equals the oracle": lambda equal: _linear(equal, relu=True),
    "conv2d equals the oracle": _conv,
    "depthwise conv2d equals the oracle": lambda equal: _conv(equal, groups=8),
    "dilated conv2d equals the oracle": lambda equal: _conv(equal, dilation=2),
    "conv2d of a batch equals that of its single images": _alone,
}
