"""torchao's `quantize_`: int8 and int4 weights of linear layers as tensor subclasses."""

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


def quantize_int4_weight_only(model: nn.Module, group: int = 32) -> nn.Module:
    """Give every `nn.Linear` int4 weights, a scale for each `group` inputs, with float computation.

    A layer whose inputs are no multiple of the group stays float: torchao refuses it.
    """
    return quantize_int4_weight_only_keeping(model, (), group)


def quantize_int4_weight_only_keeping(
    model: nn.Module, layers: Collection[str], group: int = 32
) -> nn.Module:
    """Give all linear layers but these int4 weights, with float computation."""
    import torch
    from torchao.quantization import IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    def fits(module: nn.Module, name: str) -> bool:
        fitting = isinstance(module, nn.Linear) and module.in_features % group == 0
        return fitting and name not in layers

    int4: torch.dtype = vars(torch)["int4"]  # unknown to type checkers
    config = IntxWeightOnlyConfig(weight_dtype=int4, granularity=PerGroup(group))
    quantize_(model, config, filter_fn=fits)
    return model


def _int4(model: nn.Module, context: Context) -> nn.Module:
    return quantize_int4_weight_only(model)


def _keep_int4(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    return quantize_int4_weight_only_keeping(model, layers)


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
INT4_WEIGHT_ONLY = Method.of(
    METHODS.info("torchao-int4-weight-only"),
    _int4,
    keep=_keep_int4,
    keep_recipe=(quantize_int4_weight_only_keeping,),
)
