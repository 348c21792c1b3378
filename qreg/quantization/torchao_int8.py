"""torchao's `quantize_`: int8 weights of linear layers as tensor subclasses."""

from __future__ import annotations

from collections.abc import Collection

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


def quantize_int8_dynamic_keeping(model: nn.Module, layers: Collection[str]) -> nn.Module:
    """Give all linear layers but these int8 weights, and quantize their inputs per row."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    chosen = linear_layers(model) - set(layers)
    config = Int8DynamicActivationInt8WeightConfig()
    quantize_(model, config, filter_fn=lambda _, name: name in chosen)
    return model


def quantize_int8_weight_only_keeping(model: nn.Module, layers: Collection[str]) -> nn.Module:
    """Give all linear layers but these int8 weights, with float computation."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    chosen = linear_layers(model) - set(layers)
    quantize_(model, Int8WeightOnlyConfig(), filter_fn=lambda _, name: name in chosen)
    return model


def linear_layers(model: nn.Module) -> set[str]:
    """Names of the linear layers, but not of those inside attention."""
    inside = nn.modules.linear.NonDynamicallyQuantizableLinear
    return {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and not isinstance(layer, inside)
    }


def _dynamic(model: nn.Module, context: Context) -> nn.Module:
    return quantize_int8_dynamic(model)


def _weight_only(model: nn.Module, context: Context) -> nn.Module:
    return quantize_int8_weight_only(model)


def _keep_dynamic(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    return quantize_int8_dynamic_keeping(model, layers)


def _keep_weight_only(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    return quantize_int8_weight_only_keeping(model, layers)


INT8_DYNAMIC = Method.of(
    METHODS.info("torchao-int8-dynamic"),
    _dynamic,
    recipe=(quantize_int8_dynamic,),
    keep=_keep_dynamic,
    keep_recipe=(quantize_int8_dynamic_keeping,),
)
INT8_WEIGHT_ONLY = Method.of(
    METHODS.info("torchao-int8-weight-only"),
    _weight_only,
    recipe=(quantize_int8_weight_only,),
    keep=_keep_weight_only,
    keep_recipe=(quantize_int8_weight_only_keeping,),
)
