"""Dynamic quantization: int8 weights of linear and recurrent layers, activations at run time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method


def quantize_eager_dynamic(model: nn.Module) -> nn.Module:
    """Give linear and recurrent layers int8 weights and quantize their inputs at run time."""
    kinds: set[Any] = {nn.Linear, *recurrent_layers(model)}
    quantized: nn.Module = ao.quantize_dynamic(model, kinds, dtype=torch.qint8)
    return quantized


def recurrent_layers(model: nn.Module) -> set[str]:
    """Names of the recurrent layers that PyTorch can quantize."""
    recurrent, cells = (nn.LSTM, nn.GRU), (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    # PyTorch's quantized ones need a bias, and drop an LSTM's projection (2.14.1)
    return {
        name
        for name, layer in model.named_modules()
        if (type(layer) in recurrent and layer.bias and not layer.proj_size)
        or (type(layer) in cells and layer.bias)
    }


def quantize_eager_dynamic_keeping(model: nn.Module, layers: Collection[str]) -> nn.Module:
    """Quantize linear and recurrent layers dynamically, all but these layers."""
    names = {name for name, layer in model.named_modules() if type(layer) is nn.Linear}
    wanted: set[Any] = (names | recurrent_layers(model)).difference(layers)
    quantized: nn.Module = ao.quantize_dynamic(model, wanted, dtype=torch.qint8)
    return quantized


def quantize_dynamic(model: nn.Module, context: Context) -> nn.Module:
    """Replace linear and recurrent layers by dynamically quantized ones; others stay float."""
    return quantize_eager_dynamic(model)


def keep_dynamic(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    """Replace all linear layers but these; others stay float."""
    return quantize_eager_dynamic_keeping(model, layers)


DYNAMIC = Method.of(
    METHODS.info("dynamic"),
    quantize_dynamic,
    recipe=(quantize_eager_dynamic,),
    keep=keep_dynamic,
    keep_recipe=(quantize_eager_dynamic_keeping,),
)
