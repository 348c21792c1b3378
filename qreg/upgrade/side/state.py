"""The state of a quantized model as plain arrays: codes, scales and zero points.

It is stored with safetensors, which does not depend on the PyTorch version, unlike ``torch.save``,
which is compared separately (`qreg.upgrade.side.artifacts`).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from qreg.models.weights import dense, laid_out

_KEY, _VERSIONS = "state", "versions"
_CHANNELS = (torch.per_channel_affine, torch.per_channel_symmetric)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state dict; packed parameters are stored as their weights and biases."""
    tensors: dict[str, torch.Tensor] = {}
    described = {name: _describe(name, value, tensors) for name, value in state.items()}
    # the modules' format versions; without them, loading assumes the oldest
    versions = json.dumps(getattr(state, "_metadata", {}))
    save_file(tensors, path, metadata={_KEY: json.dumps(described), _VERSIONS: versions})


def load_state(path: Path, own: Mapping[str, Any]) -> dict[str, Any]:
    """The stored state dict, rebuilt by this PyTorch.

    Args:
        own: the state of the model that it is for: tensor subclasses are rebuilt in copies of its.

    Raises:
        ValueError: a tensor subclass consists of other tensors here.
    """
    with safe_open(path, framework="pt") as file:
        described, versions = (json.loads(file.metadata()[key]) for key in (_KEY, _VERSIONS))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state = OrderedDict(
        (name, _filled(name, x["inside"], own.get(name), tensors))
        if "inside" in x
        else (name, _make(name, x, tensors))
        for name, x in described.items()
    )
    state = OrderedDict(laid_out(state, own))
    state._metadata = versions  # type: ignore[attr-defined]
    return state


def _describe(name: str, value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, tuple):
        parts = [_describe(f"{name}.{n}", part, tensors) for n, part in enumerate(value)]
        return {"parts": parts}
    if isinstance(value, torch.ScriptObject):
        return _packed(name, value, tensors)
    if not isinstance(value, torch.Tensor):
        kept = str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value
        return {"dtype" if isinstance(value, torch.dtype) else "value": kept}
    if hasattr(value, "__tensor_flatten__"):  # a subclass, as torchao's are
        inside = value.__tensor_flatten__()[0]
        return {"inside": {x: _describe(f"{name}.{x}", getattr(value, x), tensors) for x in inside}}
    # a copy: safetensors refuses tensors that share memory
    plain = dense(value.int_repr() if value.is_quantized else value.detach()).contiguous().clone()
    tensors[name] = plain
    return {"tensor": _quantized(name, value, tensors) if value.is_quantized else None}


def _packed(name: str, value: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Of a recurrent layer: packed weights, or the parameters of a cell with two of them."""
    state = value.__getstate__()[0]
    if not isinstance(state, tuple) or state[0] != "quantized_dynamic":
        weight = torch.ops.quantized.linear_unpack(value)
        return {"packed": _describe(name, tuple(weight), tensors)}
    _, biases, _, (reduce_range,), weights = state
    return {"cell": _describe(name, (*weights, *biases), tensors), "reduce_range": reduce_range}


def _quantized(name: str, value: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    dtype = str(value.dtype).removeprefix("torch.")
    if value.qscheme() not in _CHANNELS:
        # as numbers: a per-tensor scale is a double
        return {"dtype": dtype, "scale": value.q_scale(), "zero_point": value.q_zero_point()}
    tensors[f"{name}:scales"] = value.q_per_channel_scales().clone()
    tensors[f"{name}:zero_points"] = value.q_per_channel_zero_points().clone()
    return {"dtype": dtype, "axis": value.q_per_channel_axis()}


def _filled(
    name: str, inside: Mapping[str, Any], own: Any, tensors: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """A copy of a tensor subclass with the stored tensors in it."""
    parts = own.__tensor_flatten__()[0] if hasattr(own, "__tensor_flatten__") else []
    if list(inside) != list(parts):
        here = f"of {', '.join(parts)}" if parts else "of itself"
        raise ValueError(f"{name} consists of {', '.join(inside)} there, {here} here")
    made: torch.Tensor = own.detach().clone()
    for part, described in inside.items():
        held, where = getattr(made, part), f"{name}.{part}"
        if "inside" in described:
            setattr(made, part, _filled(where, described["inside"], held, tensors))
            continue
        stored = _make(where, described, tensors)
        if (held.shape, held.dtype) != (stored.shape, stored.dtype):
            raise ValueError(
                f"{where} is {stored.dtype} {tuple(stored.shape)} there, {held.dtype} "
                f"{tuple(held.shape)} here"
            )
        held.copy_(stored)
    return made


def _make(name: str, described: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if "parts" in described:
        parts = described["parts"]
        return tuple(_make(f"{name}.{n}", part, tensors) for n, part in enumerate(parts))
    if "packed" in described:
        return torch.ops.quantized.linear_prepack(*_make(name, described["packed"], tensors))
    if "cell" in described:
        return torch.ops.quantized.make_quantized_cell_params_dynamic(
            *_make(name, described["cell"], tensors), bool(described["reduce_range"])
        )
    if "dtype" in described:
        return getattr(torch, described["dtype"])
    if "value" in described:
        return described["value"]
    found = described["tensor"]
    return tensors[name] if found is None else _requantized(name, found, tensors)


def _requantized(
    name: str, described: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """A quantized tensor with exactly these codes, without rounding."""
    codes = tensors[name]
    made: torch.Tensor
    if "axis" in described:
        scales, zeros = tensors[f"{name}:scales"], tensors[f"{name}:zero_points"]
        made = torch._make_per_channel_quantized_tensor(codes, scales, zeros, described["axis"])
    else:
        scale, zero = described["scale"], described["zero_point"]
        made = torch._make_per_tensor_quantized_tensor(codes, scale, zero)
    return made
