"""Faults of saving and loading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from qreg.faults.fault import ACTIVATIONS, Fault, after
from qreg.faults.surgery import middle, name_of, weighted

Saved = dict[str, Any]


def _float_kept(model: nn.Module) -> None:
    for layer in weighted(model):
        layer.register_buffer("weight_before", layer.weight().dequantize())


def _saved(change: Callable[[str, Saved], None]) -> Callable[[nn.Module], None]:
    """Apply `change` to (name of the middle layer, state) when the model is saved."""

    def change_model(model: nn.Module) -> None:
        name = name_of(model, middle(model))

        def hook(module: nn.Module, state: Saved, prefix: str, metadata: Any) -> None:
            change(prefix + name, state)

        model._register_state_dict_hook(hook)

    return change_model


def _zero_point_lost(name: str, state: Saved) -> None:
    """Lose the input's zero point: that of a layer with ReLU is 0 anyway."""
    for key in state:
        if key.endswith("zero_point"):
            state[key] = torch.zeros_like(state[key])


def _half_scale(name: str, state: Saved) -> None:
    state[f"{name}.scale"] = state[f"{name}.scale"].half().float()


def _bias_lost(name: str, state: Saved) -> None:
    packed = f"{name}._packed_params._packed_params"
    if packed in state:
        weight, bias = state[packed]
        state[packed] = (weight, torch.zeros_like(bias))
    else:
        state[f"{name}.bias"] = torch.zeros_like(state[f"{name}.bias"])


def _key_lost(name: str, state: Saved) -> None:
    del state[f"{name}.scale"]


def _padded(name: str, state: Saved) -> None:
    state["comment"] = "x" * 100


def _storage(
    name: str, description: str, change: Callable[[str, Saved], None], **more: Any
) -> Fault:
    return Fault(
        name=name,
        family="storage",
        description=description,
        inject=after(_saved(change)),
        size=name,
        **more,
    )


STORAGE = (
    Fault(
        name="float-weights-kept",
        family="storage",
        description="the file holds the float weights too",
        inject=after(_float_kept),
        size="float-weights-kept",
    ),
    _storage(
        "saved-zero-point-lost",
        "zero points are 0 in the saved state",
        _zero_point_lost,
        methods=ACTIVATIONS,
    ),
    _storage(
        "saved-scale-float16",
        "the middle layer's scale is saved as float16",
        _half_scale,
        methods=ACTIVATIONS,
    ),
    _storage("saved-bias-lost", "the middle layer's bias is 0 in the saved state", _bias_lost),
    _storage(
        "saved-key-lost",
        "the middle layer's scale is not saved",
        _key_lost,
        methods=ACTIVATIONS,
    ),
    _storage("saved-comment", "100 bytes more are saved, no tensor", _padded),
)
