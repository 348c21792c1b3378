"""How a model's tensors lie in a checkpoint file.

Weights are rounded to float16 as the last step of training: the loaded model computes in
float32 with those values. Weights behind a fake-quantizer are only ever seen through it, so
they are stored as its integer codes and loaded as code times scale. Everything of one dimension
or less (biases, BatchNorm, ranges, scales) is stored as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from qreg.models.weights import dense, laid_out

_FAKE_QUANT = ".weight_fake_quant"


def pack(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state of a model as stored."""
    found = model.state_dict().items()
    state = {name: dense(tensor.detach()).contiguous() for name, tensor in found}
    return {name: _pack_one(name, tensor, state) for name, tensor in state.items()}


def _pack_one(name: str, tensor: torch.Tensor, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor.clone()
    scale = _weight_scale(name, tensor, state)
    if scale is None:
        return tensor.to(torch.float16, copy=True)  # a layer's two names are two tensors in a file
    # as PyTorch's fake-quantizers round: times the reciprocal, which is not divided by the scale
    return torch.clamp(torch.round(tensor * (1 / scale)), -128, 127).to(torch.int8)


def unpack(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a model from what is stored."""
    state = {}
    for name, tensor in stored.items():
        scale = _weight_scale(name, tensor, stored)
        if tensor.dtype == torch.int8 and scale is not None:
            state[name] = tensor.float() * scale
        else:
            state[name] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return state


def load_stored(model: nn.Module, content: bytes) -> None:
    """Load what `pack` of such a model gave, as a safetensors file.

    Raises:
        ValueError: it is none, or of another model; the text names the first tensor that differs.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        stored = load(content)
    # also of dtypes that this torch does not know
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"no safetensors file: {error}") from error
    own = pack(model)
    for name in sorted(own.keys() ^ stored.keys()):
        raise ValueError(f"{name} is in one of them only")
    for name, tensor in stored.items():
        wanted = own[name]
        # ranges and scales have the shape that was observed: loading them checks it
        shaped = tensor.shape == wanted.shape or max(tensor.ndim, wanted.ndim) < 2
        if tensor.dtype != wanted.dtype or not shaped:
            found = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise ValueError(f"{name} is {found}, not {wanted.dtype} {tuple(wanted.shape)}")
        if tensor.ndim > 1 and tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} has values that are not finite")
    try:
        model.load_state_dict(laid_out(unpack(stored), model.state_dict()))
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _weight_scale(
    name: str, tensor: torch.Tensor, state: Mapping[str, torch.Tensor]
) -> torch.Tensor | None:
    prefix, _, last = name.rpartition(".")
    scale = state.get(f"{prefix}{_FAKE_QUANT}.scale")
    if last != "weight" or scale is None:
        return None
    return scale.view(-1, *[1] * (tensor.ndim - 1))
