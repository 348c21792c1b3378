"""What of a model is quantized, and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import nn

from qreg.artifacts.onnx_file import OnnxModel
from qreg.checks.operators import quantizes
from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.metrics.graphs import can_be_watched, uncompiled
from qreg.metrics.operators import count_operators
from qreg.metrics.parameters import joint_quantizer, weights
from qreg.records.numerics import Layer, Quantizer

#: All names of one layer.
Names = tuple[str, ...]


@torch.no_grad()
def leaves_quantized(model: nn.Module, batch: Inputs) -> bool:
    """Whether a model computes with codes: an operator of it, or weights of a layer that runs."""
    if isinstance(model, OnnxModel):
        return quantizes(model.operators(), ())
    compiled = uncompiled(model) is not model
    operators = count_operators(partial(inputs.call, model), batch, compiled=compiled)
    found = dict(quantized_weights(uncompiled(model)))
    running = layers_run(uncompiled(model), batch, list(found)) if found else []
    layers = [_weighted(found[name]) for names in running for name in names[:1]]
    return quantizes(operators, layers)


def _weighted(weight: Quantizer) -> Layer:
    return Layer("", "", weight, "", "", None, "", None)


def quantized_weights(model: nn.Module) -> Iterator[tuple[str, Quantizer]]:
    """Layers whose weights are quantized."""
    for name, module in model.named_modules():
        if found := joint_quantizer(weights(module)):
            yield name, found


@torch.no_grad()
def layers_run(model: nn.Module, batch: Inputs, only: Sequence[str] | None = None) -> list[Names]:
    """The layers that a forward pass runs, each with all its names."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    seen: dict[nn.Module, None] = {}
    handles = [
        module.register_forward_hook(lambda module, *_: seen.update({module: None}))
        for module, called in names.items()
        if called[0] and can_be_watched(module) and (only is None or called[0] in only)
    ]
    try:
        inputs.call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return [tuple(names[module]) for module in seen]
