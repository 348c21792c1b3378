"""Static quantization: int8 weights and activations, ranges from calibration images."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.quantization.eager import (
    Weights,
    fuse,
    set_qconfig,
    static_qconfig,
)
from qreg.quantization.method import Context, Method


def quantize_static(model: nn.Module, context: Context, *, weights: Weights) -> nn.Module:
    """Fuse, observe the calibration images, convert."""
    with torch.no_grad():
        set_qconfig(fuse(model), static_qconfig(context.engine, weights))
        ao.prepare(model, inplace=True)
        for images in context.calibration():
            model(images)
        ao.convert(model, inplace=True)
    return model


STATIC = Method(name="static", quantize=partial(quantize_static, weights="per_channel"))
STATIC_PER_TENSOR = Method(
    name="static-per-tensor", quantize=partial(quantize_static, weights="per_tensor")
)
