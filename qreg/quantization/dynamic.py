"""Dynamic quantization: int8 weights of linear layers, activations quantized at run time."""

from __future__ import annotations

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method


def quantize_eager_dynamic(model: nn.Module) -> nn.Module:
    """Give every `nn.Linear` int8 weights and quantize its input at run time."""
    quantized: nn.Module = ao.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    return quantized


def quantize_dynamic(model: nn.Module, context: Context) -> nn.Module:
    """Replace every `nn.Linear` by its dynamically quantized version; convolutions stay float."""
    return quantize_eager_dynamic(model)


DYNAMIC = Method.of(METHODS.info("dynamic"), quantize_dynamic, recipe=(quantize_eager_dynamic,))
