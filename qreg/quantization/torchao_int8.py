"""torchao's `quantize_`: int8 weights of linear layers as tensor subclasses."""

from __future__ import annotations

from torch import nn

from qreg.quantization.method import Context, Method
from qreg.quantization.needs import need_torchao


def quantize_int8_dynamic(model: nn.Module) -> nn.Module:
    """Give every `nn.Linear` int8 weights, and quantize its input row by row as it comes."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def quantize_int8_weight_only(model: nn.Module) -> nn.Module:
    """Give every `nn.Linear` int8 weights; it computes in float."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(model, Int8WeightOnlyConfig())
    return model


def _dynamic(model: nn.Module, context: Context) -> nn.Module:
    need_torchao()
    return quantize_int8_dynamic(model)


def _weight_only(model: nn.Module, context: Context) -> nn.Module:
    need_torchao()
    return quantize_int8_weight_only(model)


INT8_DYNAMIC = Method(
    name="torchao-int8-dynamic",
    quantize=_dynamic,
    replaces="dynamic",
    recipe=(quantize_int8_dynamic,),
)
INT8_WEIGHT_ONLY = Method(
    name="torchao-int8-weight-only",
    quantize=_weight_only,
    replaces="dynamic",
    recipe=(quantize_int8_weight_only,),
)
