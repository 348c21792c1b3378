"""Finding and modifying the layers of a quantized model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.quantized import dynamic as nnqd
from torch.utils._python_dispatch import _disable_current_modes

Change = Callable[[Any], None]
# Layers of several weights, and the cells that a loop runs.
_CELLS: tuple[Any, ...] = (nnqd.LSTMCell, nnqd.GRUCell, nnqd.RNNCell)
_RECURRENT: tuple[Any, ...] = (nnqd.LSTM, nnqd.GRU, *_CELLS)


def weighted(model: nn.Module) -> list[Any]:
    """The quantized convolutions and linear layers, in module order."""
    return [m for m in model.modules() if isinstance(m, nnq.Conv1d | nnq.Conv2d | nnq.Linear)]


def middle(model: nn.Module) -> Any:
    """The middle quantized layer of a model, into which single-layer faults are injected."""
    layers = weighted(model)
    return layers[len(layers) // 2]


def in_middle(change: Change) -> Change:
    """A change of a model that applies `change` to its middle layer."""
    return lambda model: change(middle(model))


def everywhere(change: Change) -> Change:
    """A change of a model that applies `change` to each of its quantized layers."""

    def change_all(model: nn.Module) -> None:
        for layer in weighted(model):
            change(layer)

    return change_all


def every_weight(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """A change of a model that applies `change` to all int8 codes, of recurrent layers too."""

    def change_all(model: nn.Module) -> None:
        recurrent = [m for m in model.modules() if isinstance(m, _RECURRENT)]
        for layer in (*weighted(model), *recurrent):
            replace_weights(layer, lambda weight: changed(weight, change))

    return change_all


def replace_weights(layer: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Give a layer what `change` makes of its quantized weight, a recurrent one of each of its."""
    if isinstance(layer, _RECURRENT):
        made = {name: change(weight) for name, weight in layer.get_weight().items()}
        nested = {"weight": made, "bias": layer.get_bias()}
        layer.set_weight_bias(nested if isinstance(layer, _CELLS) else {**made, **nested["bias"]})
    else:
        layer.set_weight_bias(change(layer.weight()), layer.bias())


def name_of(model: nn.Module, layer: nn.Module) -> str:
    """The name of a module in a model."""
    names: dict[int, str] = {id(module): name for name, module in model.named_modules()}
    return names[id(layer)]


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module of this name."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def change_weight(layer: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Apply `change` to the int8 codes (out, ...) of a quantized layer."""
    replace_weights(layer, lambda weight: changed(weight, change))


def changed(weight: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A quantized weight whose int8 codes (out, ...) are changed."""
    codes = change(weight.int_repr().clone()).clamp(-128, 127).to(torch.int8)
    return with_codes(weight, codes)


def change_scales(layer: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Apply `change` to the scales of a layer's weight, one or (out,), keeping the codes."""
    weight = layer.weight()
    if weight.qscheme() == torch.per_tensor_affine:
        scale = float(change(torch.tensor([weight.q_scale()]))[0])
        zero = weight.q_zero_point()
        made = torch._make_per_tensor_quantized_tensor(weight.int_repr(), scale, zero)
    else:
        scales, zeros = weight.q_per_channel_scales(), weight.q_per_channel_zero_points()
        axis = weight.q_per_channel_axis()
        made = torch._make_per_channel_quantized_tensor(
            weight.int_repr(), change(scales.clone()), zeros, axis
        )
    layer.set_weight_bias(made, layer.bias())


def with_codes(like: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """A quantized tensor with these codes and the quantization parameters of `like`."""
    if like.qscheme() == torch.per_tensor_affine:
        scale, zero = like.q_scale(), like.q_zero_point()
        return torch._make_per_tensor_quantized_tensor(codes, scale, zero)
    scales, zeros = like.q_per_channel_scales(), like.q_per_channel_zero_points()
    return torch._make_per_channel_quantized_tensor(codes, scales, zeros, like.q_per_channel_axis())


def change_output(module: nn.Module, change: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
    """Apply `change` to a module's (input, output), as if its kernel computed the result.

    The extra work is hidden from dispatch modes, so that no extra operators are counted.
    """

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        with _disable_current_modes():
            return change(inputs[0] if inputs else None, output)

    module.register_forward_hook(hook)


def change_input(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Apply `change` to a module's first input, hidden from dispatch modes likewise."""

    def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        with _disable_current_modes():
            if inputs:
                return (change(inputs[0]), *inputs[1:]), named
            first = next(iter(named))
            return (), {**named, first: change(named[first])}

    module.register_forward_pre_hook(hook, with_kwargs=True)
