"""From accumulators and real values to output codes, in exact rationals.

Sources: Jacob et al. (2018), arXiv:1712.05877, section 2.4: scale an accumulator by
``sx * sw / sy``, round, add the output's zero point, saturate; ONNX QuantizeLinear; and the
oneDNN developer guide, "Quantization", where the zero point is added before rounding.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from qreg.quantization.reference.affine import Integers, channelwise
from qreg.quantization.reference.rounding import clamp, round_half_away, round_half_even

Rationals = npt.NDArray[np.object_]
#: Whether rounding comes before adding the zero point (ONNX, Jacob et al.) or after it (oneDNN),
#: or comes before it with ties away from zero (gemmlowp). Only exact ties tell them apart.
Order = Literal["round_first", "zero_point_first", "away_first"]


def requantize(
    real: Rationals,
    *,
    zero_point: int,
    qmin: int,
    qmax: int,
    relu: bool = False,
    order: Order = "round_first",
) -> Integers:
    """Codes of real values given in steps of the output's scale, as rationals.

    A fused ReLU raises the lower end to the zero point (Jacob et al., section 2.4).
    """
    lowest = max(qmin, zero_point) if relu else qmin

    def one(value: Fraction) -> int:
        if order == "zero_point_first":
            return clamp(round_half_even(value + zero_point), lowest, qmax)
        round_first = round_half_away if order == "away_first" else round_half_even
        return clamp(round_first(value) + zero_point, lowest, qmax)

    values = np.asarray(real, dtype=object)
    flat = [one(value) for value in values.ravel()]
    return np.array(flat, dtype=np.int64).reshape(values.shape)


def scaled(
    accumulators: Integers,
    multiplier: Fraction | Rationals,
    bias: Rationals | None = None,
) -> Rationals:
    """``accumulators * multiplier + bias`` as rationals; parameters are per channel, axis 1.

    `multiplier` is ``sx * sw / sy`` and `bias` is ``b / sy``, for codes of the output.
    """
    exact = accumulators.astype(object)
    factor = multiplier if isinstance(multiplier, Fraction) else _along(multiplier, exact.ndim)
    product: Rationals = exact * factor
    return product if bias is None else product + _along(bias, exact.ndim)


def _along(parameter: Rationals, ndim: int) -> Rationals:
    return channelwise(parameter, ndim, 1)


def real_steps(q: npt.ArrayLike, scale: Fraction, zero_point: int) -> Rationals:
    """``(q - zero_point) * scale`` as rationals."""
    centred = np.asarray(q, dtype=np.int64) - zero_point
    steps: Rationals = centred.astype(object) * scale
    return steps
