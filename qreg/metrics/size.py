"""Size: bytes of the saved file, and bytes of weights by layer and dtype. Lower is better."""

from __future__ import annotations

import io
from collections.abc import Iterator

import torch
from torch import nn
from torch.ao.nn.intrinsic.modules.fused import _FusedModule

from qreg.metrics.graphs import exported_graph, plain_tensors, stored_names, uncompiled
from qreg.records.measurement import Role, Size, TensorSize

# A quantized linear layer stores weight and bias as one tuple under this name.
_PACKED = "._packed_params._packed_params"


def model_size(model: nn.Module) -> Size:
    """Measure a model, float or quantized."""
    tensors = tuple(_tensors(model))
    weights = [tensor for tensor in tensors if tensor.role is Role.WEIGHT]
    return Size(
        file_bytes=_file_bytes(model),
        weight_bytes=sum(tensor.bytes for tensor in weights),
        tensors=tensors,
        float_layers=tuple(t.layer for t in weights if t.dtype not in ("qint8", "int8")),
    )


def _file_bytes(model: nn.Module) -> int:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def _tensors(model: nn.Module) -> Iterator[TensorSize]:
    model = uncompiled(model)
    graph = exported_graph(model)
    names = stored_names(graph) if graph else {}
    for name, value in model.state_dict().items():
        if name in names:
            yield _one(*names[name], value)
        elif isinstance(value, torch.Tensor):
            layer, _, leaf = name.rpartition(".")
            for part, tensor in plain_tensors(leaf, value):
                yield _one(_unfused(model, layer), part, tensor)
        elif name.endswith(_PACKED):
            layer = name.removesuffix(_PACKED)
            for leaf, tensor in zip(("weight", "bias"), value, strict=True):
                if tensor is not None:
                    yield _one(layer, leaf, tensor)


def _unfused(model: nn.Module, layer: str) -> str:
    """The layer's name before fusion: a fused float layer contains it as its child "0"."""
    parent, _, child = layer.rpartition(".")
    fused = child == "0" and isinstance(model.get_submodule(parent), _FusedModule)
    return parent if fused else layer


def _one(layer: str, leaf: str, tensor: torch.Tensor) -> TensorSize:
    role = Role.BIAS if leaf == "bias" else Role.OTHER
    if leaf == "weight" and tensor.ndim >= 2:
        role = Role.WEIGHT
    return TensorSize(
        layer=layer,
        role=role,
        dtype=str(tensor.dtype).removeprefix("torch."),
        elements=tensor.numel(),
        bytes=tensor.numel() * tensor.element_size(),
    )
