"""Restoring a single layer to a baseline's parameters, to attribute a change to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.quantized import dynamic as nnqd

from qreg.metrics.graphs import exported_graph
from qreg.metrics.swap_graph import restored_in_graph, rounded
from qreg.records.numerics import Layer, Quantizer


class RestoredLayer(nn.Module):
    """A convolution or linear layer in float arithmetic, with a baseline's parameters.

    Input and weight are dequantized and the output is quantized again: the layer's definition,
    independent of its kernel.

    Args:
        twin: the float layer with the same weights, including its ReLU.
        dynamic: whether the input is float and is quantized by its own range.
    """

    def __init__(self, twin: nn.Module, layer: Layer, *, dynamic: bool) -> None:
        super().__init__()
        self.twin, self.output, self.dynamic = copy.deepcopy(twin), layer.output, dynamic
        if layer.weight is not None:
            self._quantize_weight(layer.weight)

    def _quantize_weight(self, quantizer: Quantizer) -> None:
        # a fused float layer contains the layer as its child "0"; a QAT layer is the layer itself
        holder: Any = self.twin if hasattr(self.twin, "weight") else self.twin.get_submodule("0")
        values = rounded(holder.weight.detach(), quantizer)
        holder.weight = nn.Parameter(values, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.dynamic:
            scale, zero_point = torch.ops.aten._choose_qparams_per_tensor(x, True)
            x = torch.quantize_per_tensor(x, scale, zero_point, torch.quint8)
        y: torch.Tensor = self.twin(x.dequantize() if x.is_quantized else x)
        return _quantized(y, self.output) if self.output else y


@contextmanager
def restored(model: nn.Module, twin: nn.Module, layer: Layer) -> Iterator[bool]:
    """Restore one layer of a quantized model; yields whether its kind can be restored."""
    graph = exported_graph(model)
    if graph is not None and graph is model:  # a compiled one no longer runs its graph
        with restored_in_graph(graph, twin, layer) as possible:
            yield possible
        return
    name = layer.name.partition("#")[0]
    module: Any = dict(model.named_modules()).get(name)  # None for an operator of a graph
    if isinstance(module, (nnq.Conv2d, nnq.Linear)):
        with _replaced(model, name, _rebuilt(module, twin.get_submodule(name), layer)):
            yield True
    elif isinstance(module, (nnq.Quantize, nnq.QFunctional)) and layer.output:
        with _with_output(module, layer.output):
            yield True
    else:
        yield False


def _rebuilt(module: nn.Module, twin: nn.Module, layer: Layer) -> RestoredLayer:
    return RestoredLayer(twin, layer, dynamic=isinstance(module, nnqd.Linear))


@contextmanager
def _replaced(model: nn.Module, name: str, module: nn.Module) -> Iterator[None]:
    parent_name, _, leaf = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    before = getattr(parent, leaf)
    setattr(parent, leaf, module)
    try:
        yield
    finally:
        setattr(parent, leaf, before)


@contextmanager
def _with_output(module: Any, output: Quantizer) -> Iterator[None]:
    before = module.scale, module.zero_point
    scale, zero_point = output.scales[0], output.zero_points[0]
    if isinstance(module.scale, torch.Tensor):
        module.scale, module.zero_point = torch.tensor([scale]), torch.tensor([zero_point])
    else:
        module.scale, module.zero_point = scale, zero_point
    try:
        yield
    finally:
        module.scale, module.zero_point = before


def _quantized(x: torch.Tensor, quantizer: Quantizer) -> torch.Tensor:
    dtype = getattr(torch, quantizer.dtype)
    return torch.quantize_per_tensor(x, quantizer.scales[0], quantizer.zero_points[0], dtype)
