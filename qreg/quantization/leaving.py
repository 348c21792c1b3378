"""Leaving layers in float between quantized ones, in eager mode.

A layer is taken out after calibration or training, so that the ranges of all others stay what they
are.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional

from qreg.models.copies import attributes_kept


class FloatLayer(nn.Module):
    """A float layer between quantized ones.

    `quant` quantizes its output; it is an identity where what reads it is in float, too.
    """

    def __init__(self, layer: nn.Module, quant: nn.Module) -> None:
        super().__init__()
        self.layer, self.quant = layer, quant

    def forward(self, x: torch.Tensor) -> Any:
        return self.quant(self.layer(x.dequantize()))


class FloatOperations(nn.Module):
    """Sums, products and concatenations in float between quantized layers."""

    def __init__(self, quant: nn.Module) -> None:
        super().__init__()
        self.quant = quant

    def add(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.quant(x.dequantize() + y.dequantize())

    def add_relu(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.quant(torch.relu(x.dequantize() + y.dequantize()))

    def mul(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.quant(x.dequantize() * y.dequantize())

    def matmul(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.quant(x.dequantize() @ y.dequantize())

    def cat(self, x: list[torch.Tensor], dim: int = 0) -> Any:
        return self.quant(torch.cat([each.dequantize() for each in x], dim))


def leave_float(prepared: nn.Module, layers: Collection[str]) -> nn.Module:
    """Leave layers of a calibrated or trained model in float; it is to be converted then."""
    unread = read_by_float(prepared, layers)
    for name in layers:
        layer: Any = prepared.get_submodule(name)
        quant: Any = nn.Identity()
        if name not in unread:
            quant = ao.QuantStub()
            quant.qconfig = layer.qconfig
            quant.activation_post_process = layer.activation_post_process
        if isinstance(layer, FloatFunctional):
            prepared.set_submodule(name, FloatOperations(quant))
        else:
            prepared.set_submodule(name, FloatLayer(without_observers(layer), quant))
    for name in unread.difference(layers):
        prepared.set_submodule(name, nn.Identity())
    return prepared


def without_observers(layer: Any) -> nn.Module:
    """The float layer in a prepared one, which no conversion touches."""
    trained = hasattr(layer, "weight_fake_quant")
    plain: nn.Module = layer.to_float() if trained else copy.deepcopy(layer)
    for module in plain.modules():
        module.qconfig = None  # type: ignore[assignment]
        if hasattr(module, "activation_post_process"):
            del module.activation_post_process
            module._forward_hooks.clear()
    return plain.eval()


def read_by_float(prepared: nn.Module, layers: Collection[str]) -> set[str]:
    """Those of `layers`, and of the stubs at the inputs, that only `layers` read.

    What has no range of its own, such as pooling, passes its input on. Empty where torch.fx cannot
    trace the model.
    """

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            observed = hasattr(m, "activation_post_process")
            observes = isinstance(m, (ao.ObserverBase, ao.FakeQuantizeBase))
            return observed or observes or super().is_leaf_module(m, module_qualified_name)

    try:
        with attributes_kept(prepared):
            graph = Tracer().trace(prepared)
    except Exception:  # whatever the model's own code raises for proxies
        return set()
    modules = dict(prepared.named_modules())
    places: dict[fx.Node, str] = {}
    for node in graph.nodes:
        name, _, leaf = str(node.target).rpartition(".")
        if node.op == "call_module" and leaf == "activation_post_process":
            places[node] = name
        elif node.op == "call_module" and hasattr(modules[node.target], "activation_post_process"):
            places[node] = str(node.target)

    def readers(node: fx.Node) -> Iterator[str]:
        for user in node.users:
            if user in places:
                yield places[user]
            else:
                yield from readers(user)

    inside = {node: name for node, name in places.items() if set(readers(node)) <= set(layers)}
    mixed = {name for node, name in places.items() if node not in inside}
    return {
        name
        for name in set(inside.values()) - mixed
        if name in layers or isinstance(modules[name], ao.QuantStub)
    }
