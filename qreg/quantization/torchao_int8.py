"""torchao's `quantize_`: int8 weights of linear layers as tensor subclasses."""

from __future__ import annotations

from torch import nn

from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method


def quantize_int8_dynamic(model: nn.Module) -> nn.Module:
    """Give every `nn.Linear` int8 weights and quantize its input per row at run time."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def quantize_int8_weight_only(model: nn.Module) -> nn.Module:
    """Give every `nn.Linear` int8 weights, with float computation."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(model, Int8WeightOnlyConfig())
    return model


def _dynamic(model: nn.Module, context: Context) -> nn.Module:
    return quantize_int8_dynamic(model)


def _weight_only(model: nn.Module, context: Context) -> nn.Module:
    return quantize_int8_weight_only(model)


INT8_DYNAMIC = Method.of(
    METHODS.info("torchao-int8-dynamic"), _dynamic, recipe=(quantize_int8_dynamic,)
)
INT8_WEIGHT_ONLY = Method.of(
    METHODS.info("torchao-int8-weight-only"), _weight_only, recipe=(quantize_int8_weight_only,)
)
