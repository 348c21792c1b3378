"""Descriptions of a tensor: digest, quantization parameters, and SQNR to another tensor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from qreg.metrics.graphs import plain_tensors
from qreg.records.numerics import EQUAL_DB, Quantizer

_SHORT = 16  # hex digits of a digest that only detects differences, not tampering


def digest(tensor: torch.Tensor | None) -> str:
    """Digest of the values, or of the codes of a quantized tensor; "" for None."""
    if tensor is None:
        return ""
    _, plain = next(iter(plain_tensors("", tensor)))
    values = (plain.int_repr() if plain.is_quantized else plain).contiguous()
    if values.dtype is torch.bfloat16:  # numpy has none
        values = values.view(torch.int16)
    return hashlib.sha256(values.numpy().data).hexdigest()[:_SHORT]


def quantizer(tensor: torch.Tensor | None) -> Quantizer | None:
    """Quantization parameters of a quantized tensor or subclass; None for a float one."""
    if tensor is None or not tensor.is_quantized:
        return None if tensor is None else _of_subclass(tensor)
    scheme = str(tensor.qscheme()).removeprefix("torch.")
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return Quantizer(scheme, dtype, (tensor.q_scale(),), (tensor.q_zero_point(),))
    scales = tensor.q_per_channel_scales().tolist()
    zeros = [int(zero) for zero in tensor.q_per_channel_zero_points().tolist()]
    return Quantizer(scheme, dtype, tuple(scales), tuple(zeros))


def affine(
    codes: torch.dtype, scale: torch.Tensor | float, zero_point: torch.Tensor | int | None
) -> Quantizer:
    """Quantization parameters stored next to the codes: per tensor or per channel."""
    scales = torch.as_tensor(scale).flatten().tolist()
    zeros = [0] * len(scales)
    if zero_point is not None:
        zeros = [int(zero) for zero in torch.as_tensor(zero_point).flatten().tolist()]
    scheme = "per_channel_affine" if len(scales) > 1 else "per_tensor_affine"
    return Quantizer(scheme, str(codes).removeprefix("torch."), tuple(scales), tuple(zeros))


def _of_subclass(tensor: torch.Tensor) -> Quantizer | None:
    parts = dict(plain_tensors("codes", tensor))
    if "codes.scale" not in parts:
        return None
    # torchao may store codes of four bits in bytes of their own
    codes = getattr(tensor, "target_dtype", parts["codes"].dtype)
    return affine(codes, parts["codes.scale"], parts.get("codes.zero_point"))


def same_state(one: Any, other: Any) -> bool:
    """Whether two states have the same names, dtypes and bits; False where that cannot be seen.

    What cannot be looked into are packed weights of recurrent layers and tensor subclasses.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same_state, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return _same_tensor(one, other)
    plain = (type(None), bool, int, float, torch.dtype)
    return type(one) is type(other) and isinstance(one, plain) and one == other


def _same_tensor(one: torch.Tensor, other: torch.Tensor) -> bool:
    if not all(type(x) in (torch.Tensor, nn.Parameter) and _has_bits(x) for x in (one, other)):
        return False
    if one.dtype != other.dtype or one.shape != other.shape or quantizer(one) != quantizer(other):
        return False
    return torch.equal(_bits(one), _bits(other))


def _has_bits(tensor: torch.Tensor) -> bool:
    """Whether the tensor is stored one number after another; float zero points are not compared."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return plain and not (
        tensor.is_quantized and tensor.qscheme() is torch.per_channel_affine_float_qparams
    )


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    codes = tensor.int_repr() if tensor.is_quantized else tensor.detach()
    return codes.contiguous().reshape(-1).view(torch.uint8)


def sqnr(output: torch.Tensor, twin: torch.Tensor | None) -> float | None:
    """Signal-to-quantization-noise ratio in dB: 10 log10 of the twin's energy over the error's.

    Source: Lin et al., "Fixed point quantization of deep convolutional networks" (2016).
    """
    if twin is None or twin.shape != output.shape or not _is_float(output):
        return None
    values = output.dequantize() if output.is_quantized else output
    if torch.equal(values, twin):
        return EQUAL_DB
    noise, signal = _energy(twin - values), _energy(twin)
    if not math.isfinite(noise) or not math.isfinite(signal) or signal == 0.0:
        return -EQUAL_DB
    return round(max(-EQUAL_DB, min(EQUAL_DB, 10 * math.log10(signal / noise))), 4)


def _is_float(output: torch.Tensor) -> bool:
    return output.is_quantized or output.is_floating_point()


def _energy(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2
