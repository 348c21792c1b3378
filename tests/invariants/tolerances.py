"""Every tolerance of these suites, each with its reason. There is no other place for one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qreg.quantization.reference import Order, requantize
from qreg.quantization.reference.affine import channelwise

#: Half a unit in the last place of float32, relative: what one rounding can move a value.
UNIT = Fraction(1, 2**24)

#: What one rounding can move a value that is denormal afterwards, absolute.
DENORMAL_UNIT = Fraction(1, 2**150)

#: An average's step passes a difference, a product, a sum, and 0.01 itself is rounded.
AVERAGE_ROUNDINGS = 4

#: Quantizing multiplies by a rounded reciprocal (fbgemm's QuantUtils.h says why): the
#: reciprocal is rounded once and the product once; the third is for products of the two.
QUANTIZE_ROUNDINGS = 3

#: A kernel's output passes at most: the product and the quotient of scales (2), the accumulator's
#: conversion (1), bias over scales (2), the sum (1), the scaling (1), the zero point's sum (1).
KERNEL_ROUNDINGS = 8

#: A float output passes: the product of scales (1), the accumulator's conversion (1), the
#: product (1), the bias (1); two more where the correction for the zero point is added in float.
FLOAT_OUTPUT_ROUNDINGS = 6

#: An add passes: each input's premultiplied zero point (1), its multiply-add (1), the sum (1),
#: and quantizing it.
ADD_ROUNDINGS = 3 + QUANTIZE_ROUNDINGS

#: qnnpack adds with fixed-point multipliers of at least 21 bits (its requantization.h,
#: ``pytorch_qnnp_compute_add_quantization_params``), for each input half a unit of it at most.
QNNPACK_ADD = Fraction(1, 2**20)

#: A scale is a difference and a quotient; observers compute either in float32.
SCALE_ROUNDINGS = 3

#: A histogram's bins are split and summed in float32, at most 40 values in 2048 bins a batch.
HISTOGRAM_MASS = 1e-5


def between(
    real: npt.NDArray[np.object_],
    slack: npt.NDArray[np.object_],
    *,
    zero_point: int,
    qmin: int,
    qmax: int,
    relu: bool = False,
    order: Order = "round_first",
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The lowest and the highest code for real values that are known within `slack`.

    The two differ only where a rounding boundary lies within the slack.
    """
    ends = (real - slack, real + slack)
    low, high = (
        requantize(end, zero_point=zero_point, qmin=qmin, qmax=qmax, relu=relu, order=order)
        for end in ends
    )
    return low, high


def kernel_slack(
    size: npt.NDArray[np.object_],
    multiplier: npt.NDArray[np.object_],
    *,
    bias_is_rounded: bool,
    axis: int = 1,
) -> npt.NDArray[np.object_]:
    """How far a kernel's float32 arithmetic may take an output from its exact value, in steps.

    Args:
        size: accumulator and bias in steps, added without their signs.
        multiplier: ``sx * sw / sy`` for each output.
        bias_is_rounded: qnnpack stores the bias in steps of ``sx * sw``, rounded to integers.
    """
    slack = (size + 256) * UNIT * KERNEL_ROUNDINGS
    if bias_is_rounded:
        slack = slack + channelwise(multiplier, size.ndim, axis) / 2
    return slack
