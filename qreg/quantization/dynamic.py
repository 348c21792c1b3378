"""Dynamic quantization: int8 weights of linear layers, activations quantized as they come."""

from __future__ import annotations

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.quantization.method import Context, Method


def quantize_dynamic(model: nn.Module, context: Context) -> nn.Module:
    """Replace every `nn.Linear` by its dynamically quantized version; convolutions stay float."""
    quantized: nn.Module = ao.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    return quantized


DYNAMIC = Method(name="dynamic", quantize=quantize_dynamic)
