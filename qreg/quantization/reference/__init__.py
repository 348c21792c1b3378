"""The independent integer oracle: what quantization means, without torch.

Integers and exact rationals throughout, each definition written from its published source.
Nothing in here may import torch, or round in floating point.
"""

from qreg.quantization.reference.affine import dequantize, exact_scale, fake_quantize, quantize
from qreg.quantization.reference.kernels import avg_pool2d, conv2d, linear, max_pool2d
from qreg.quantization.reference.ranges import ExactParameters, choose_affine, choose_symmetric
from qreg.quantization.reference.requantization import Order, real_steps, requantize, scaled
from qreg.quantization.reference.rounding import clamp, round_half_away, round_half_even, to_float32
from qreg.quantization.reference.saturation import (
    Layout,
    PairSums,
    conv2d_in_pairs,
    linear_in_pairs,
)

__all__ = [
    "ExactParameters",
    "Layout",
    "Order",
    "PairSums",
    "avg_pool2d",
    "choose_affine",
    "choose_symmetric",
    "clamp",
    "conv2d",
    "conv2d_in_pairs",
    "dequantize",
    "exact_scale",
    "fake_quantize",
    "linear",
    "linear_in_pairs",
    "max_pool2d",
    "quantize",
    "real_steps",
    "requantize",
    "round_half_away",
    "round_half_even",
    "scaled",
    "to_float32",
]
