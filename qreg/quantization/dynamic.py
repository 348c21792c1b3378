"""Dynamic quantization: int8 weights of linear and recurrent layers, activations at run time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method


def quantize_eager_dynamic(model: nn.Module) -> nn.Module:
    """Give linear and recurrent layers int8 weights and quantize their inputs at run time."""
    recurrent, cells = (nn.LSTM, nn.GRU), (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    # PyTorch's quantized ones need a bias, and drop an LSTM's projection (2.14.1)
    chosen = {
        name
        for name, layer in model.named_modules()
        if (type(layer) in recurrent and layer.bias and not layer.proj_size)
        or (type(layer) in cells and layer.bias)
    }
    kinds: set[Any] = {nn.Linear, *chosen}
    quantized: nn.Module = ao.quantize_dynamic(model, kinds, dtype=torch.qint8)
    return quantized


def quantize_dynamic(model: nn.Module, context: Context) -> nn.Module:
    """Replace linear and recurrent layers by dynamically quantized ones; others stay float."""
    return quantize_eager_dynamic(model)


DYNAMIC = Method.of(METHODS.info("dynamic"), quantize_dynamic, recipe=(quantize_eager_dynamic,))
