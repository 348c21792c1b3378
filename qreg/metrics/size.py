"""Size: bytes of the saved file, and bytes of weights by layer and dtype. Lower is better."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.ao.nn.intrinsic.modules.fused import _FusedModule

from qreg.artifacts.load import file_of
from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.torchscript import is_script, script_size
from qreg.metrics.graphs import exported_graph, plain_tensors, stored_names, uncompiled
from qreg.metrics.parameters import biases, is_packed_recurrent, weights
from qreg.quantization.leaving import FloatLayer
from qreg.records.measurement import Role, Size, TensorSize

# A quantized linear layer stores weight and bias as one tuple under this name.
_PACKED = "._packed_params._packed_params"


def model_size(model: nn.Module, *, saved: bytes | None = None) -> Size:
    """Measure a model, float or quantized; of one from a file, the file.

    Args:
        saved: the state as `torch.save` writes it, where it is at hand.
    """
    file = file_of(model)
    if isinstance(model, OnnxModel):
        return model.size()
    if is_script(model) and file:
        return script_size(model, file.total_bytes)
    tensors = tuple(_tensors(model))
    return Size(
        file_bytes=file.total_bytes if file else len(saved or saved_state(model)),
        weight_bytes=sum(one.bytes for one in tensors if one.role is Role.WEIGHT),
        tensors=tensors,
        float_layers=tuple(dict.fromkeys(one.layer for one in tensors if one.is_float_weight)),
    )


def saved_state(model: nn.Module) -> bytes:
    """A model's state as `torch.save` writes it to a file."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def _tensors(model: nn.Module) -> Iterator[TensorSize]:
    model = uncompiled(model)
    graph = exported_graph(model)
    names = stored_names(graph) if graph else {}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    state = model.state_dict()
    again = _second_names(state)
    for name, value in state.items():
        if name in again:
            continue
        if name in names:
            yield _one(*names[name], value, parameter=name in parameters)
        elif isinstance(value, torch.Tensor):
            layer, _, leaf = name.rpartition(".")
            for part, tensor in plain_tensors(leaf, value):
                yield _one(_unfused(model, layer), part, tensor, parameter=name in parameters)
        elif name.endswith(_PACKED):
            layer = name.removesuffix(_PACKED)
            for leaf, tensor in zip(("weight", "bias"), value, strict=True):
                if tensor is not None:
                    yield _one(layer, leaf, tensor)
    yield from _recurrent(model)


def _second_names(state: Mapping[str, Any]) -> set[str]:
    """Names of tensors that have another name before: they are stored once."""
    found, places = set(), set()
    for name, value in state.items():
        plain = isinstance(value, torch.Tensor) and type(value) in (torch.Tensor, nn.Parameter)
        if plain and value.layout is torch.strided:
            place = value.data_ptr(), value.shape, value.dtype
            if value.numel() and place in places:
                found.add(name)
            places.add(place)
    return found


def _recurrent(model: nn.Module) -> Iterator[TensorSize]:
    """Of quantized recurrent layers, whose state dict holds packed objects and no tensors."""
    for layer, module in model.named_modules():
        if is_packed_recurrent(module):
            for leaf, tensor in {**weights(module), **biases(module)}.items():
                yield _one(layer, leaf, tensor)


def _unfused(model: nn.Module, layer: str) -> str:
    """The layer's name before fusion: a fused float layer contains it as its child "0".

    One that is left in float between quantized ones contains it as its child "layer".
    """
    for child, kind in (("0", _FusedModule), ("layer", FloatLayer)):
        parent, _, leaf = layer.rpartition(".")
        if leaf == child and isinstance(model.get_submodule(parent), kind):
            layer = parent
    return layer


def _is_weight(leaf: str) -> bool:
    """``weight``, ``weight_ih_l0``, ``in_proj_weight``; not ``weight.scale`` of a subclass."""
    return leaf == "weight" or leaf.startswith("weight_") or leaf.endswith("_weight")


def _one(layer: str, leaf: str, tensor: torch.Tensor, *, parameter: bool = False) -> TensorSize:
    role = Role.OTHER
    if "." in leaf:
        pass  # weight.scale: of a tensor subclass, as `plain_tensors` calls it
    elif leaf.startswith("bias") or leaf.endswith("_bias"):
        role = Role.BIAS  # bias_ih_l0, in_proj_bias
    elif tensor.ndim >= 2 and (parameter or _is_weight(leaf)):
        role = Role.WEIGHT  # whatever its author calls a parameter
    return TensorSize(
        layer=layer,
        role=role,
        dtype=str(tensor.dtype).removeprefix("torch."),
        elements=tensor.numel(),
        bytes=tensor.numel() * tensor.element_size(),
    )
