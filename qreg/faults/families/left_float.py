"""Faults that leave something unquantized: a layer, all layers, or weights in another type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import quantized as nnq
from torch.nn import functional

from qreg.faults.fault import DYNAMIC, Fault, Target, after, changed_method
from qreg.faults.surgery import middle, name_of, replace_module
from qreg.quantization import Context, Method

_ANNOTATE = (
    "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer.X86InductorQuantizer.annotate"
)


class FloatKernel(nn.Module):
    """A quantized layer computed in float between dequantize and quantize."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight().dequantize(), requires_grad=False)
        self.bias = nn.Parameter(layer.bias().detach(), requires_grad=False)
        self.layer = [layer]  # in a list, so that it is no submodule and not in the state dict
        self.relu = "ReLU" in type(layer).__name__

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Codes to codes, or floats to floats where the layer is dynamic."""
        layer = self.layer[0]
        values = x.dequantize() if x.is_quantized else x
        if not isinstance(layer, nnq.Linear):
            places = (layer.stride, layer.padding, layer.dilation, layer.groups)
            convolve = functional.conv1d if self.weight.ndim == 3 else functional.conv2d
            y = convolve(values, self.weight, self.bias, *places)
        else:
            y = functional.linear(values, self.weight, self.bias)
        y = torch.relu(y) if self.relu else y
        if not x.is_quantized:
            return y
        return torch.quantize_per_tensor(y, layer.scale, layer.zero_point, torch.quint8)


def _one_float(model: nn.Module) -> None:
    layer = middle(model)
    replace_module(model, name_of(model, layer), FloatKernel(layer))


def _all_float(method: Method, target: Target) -> Method:
    def quantize(model: nn.Module, context: Context) -> nn.Module:
        model.apply(ao.disable_fake_quant)
        return model

    return replace(method, quantize=quantize)


def _nothing_annotated(method: Method, target: Target) -> Method:
    def quantize(model: nn.Module, context: Context) -> nn.Module:
        with patch(_ANNOTATE, lambda *given: given[-1]):
            return method.quantize(model, context)

    return replace(method, quantize=quantize)


def _one_linear(method: Method, target: Target) -> Method:
    def quantize(model: nn.Module, context: Context) -> nn.Module:
        names = [name for name, m in model.named_modules() if type(m) is nn.Linear]
        made: nn.Module = ao.quantize_dynamic(model, set(names[:1]), dtype=torch.qint8)
        return made

    return replace(method, quantize=quantize)


def _linear_only(method: Method, target: Target) -> Method:
    def quantize(model: nn.Module, context: Context) -> nn.Module:
        made: nn.Module = ao.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
        return made

    return replace(method, quantize=quantize)


def _float16(method: Method, target: Target) -> Method:
    def quantize(model: nn.Module, context: Context) -> nn.Module:
        made: nn.Module = ao.quantize_dynamic(model, {nn.Linear}, dtype=torch.float16)
        return made

    return replace(method, quantize=quantize)


LEFT_FLOAT = (
    Fault(
        name="layer-left-float",
        family="left float",
        description="the middle layer computes in float",
        inject=after(_one_float),
        size="one layer",
    ),
    Fault(
        name="all-left-float",
        family="left float",
        description="nothing is quantized",
        inject=changed_method(_all_float),
        size="all layers",
    ),
    Fault(
        name="pt2e-nothing-annotated",
        family="left float",
        description="the quantizer marks no operator to be quantized",
        inject=changed_method(_nothing_annotated),
        size="all operators",
        methods=("pt2e-static",),
    ),
    Fault(
        name="dynamic-one-layer",
        family="left float",
        description="only the first linear layer is quantized",
        inject=changed_method(_one_linear),
        size="all but one",
        methods=DYNAMIC,
        unchanged_because="the model has one linear layer",
    ),
    Fault(
        name="dynamic-recurrent-left-float",
        family="left float",
        description="linear layers are quantized, the LSTM is not",
        inject=changed_method(_linear_only),
        size="LSTM",
        methods=DYNAMIC,
        needs=("LSTM",),
    ),
    Fault(
        name="dynamic-float16",
        family="left float",
        description="weights are float16 instead of int8",
        inject=changed_method(_float16),
        size="float16",
        methods=DYNAMIC,
    ),
)
