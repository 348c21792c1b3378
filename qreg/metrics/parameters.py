"""A module's own weights and biases, whatever kind of module keeps them, and however."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from qreg.metrics.tensors import digest, quantizer
from qreg.records.numerics import Quantizer


def is_packed_recurrent(module: nn.Module) -> bool:
    """Whether it is a recurrent layer (or cell) with packed weights, as `quantize_dynamic` makes.

    They stand in its state dict as objects that are no tensors.
    """
    return callable(getattr(module, "get_weight", None)) and not hasattr(module, "weight")


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights by name, float or quantized; not those of its children."""
    return _own(module, "weight", fewest_dimensions=2)


def biases(module: nn.Module) -> dict[str, torch.Tensor]:
    """Biases by name; not those of its children."""
    return _own(module, "bias", fewest_dimensions=0)


def _own(module: nn.Module, kind: str, *, fewest_dimensions: int) -> dict[str, torch.Tensor]:
    if is_packed_recurrent(module):
        packed: dict[str, torch.Tensor] = getattr(module, f"get_{kind}")()
        return {name: tensor.detach() for name, tensor in packed.items()}
    found: Any = getattr(module, kind, None)
    if callable(found) and not isinstance(found, (torch.Tensor, nn.Module)):
        found = found()  # a quantized layer unpacks it; a module's child may have the name, too
    if isinstance(found, torch.Tensor):
        return {kind: found.detach()}
    return {
        name: parameter.detach()
        for name, parameter in module.named_parameters(recurse=False)
        if kind in name and parameter.ndim >= fewest_dimensions
    }


def joint_digest(tensors: dict[str, torch.Tensor]) -> str:
    """Digest of one tensor, or of several together; "" for none."""
    digests = [digest(tensor) for tensor in tensors.values()]
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[: len(digests[0])]


def joint_quantizer(tensors: dict[str, torch.Tensor]) -> Quantizer | None:
    """Quantization parameters of one tensor, or of several in a row; None if any is float."""
    found = [quantizer(tensor) for tensor in tensors.values()]
    each = [one for one in found if one is not None]
    if not each or len(each) < len(found):
        return None
    return Quantizer(
        each[0].qscheme,
        each[0].dtype,
        tuple(scale for one in each for scale in one.scales),
        tuple(zero for one in each for zero in one.zero_points),
    )
