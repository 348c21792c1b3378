"""bfloat16 and float16: weights and computation in half the bits, of all layers or of some."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from qreg.quantization import METHODS
from qreg.quantization.leaving import FloatLayer
from qreg.quantization.method import Context, Method
from qreg.records.method import Form


def to_half(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert a model to a float type of 16 bits; its inputs and outputs stay float32."""

    def convert(value: Any, kind: torch.dtype) -> Any:
        is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(kind) if is_float else value

    def before(module: nn.Module, args: Any, named: Any) -> Any:
        return pytree.tree_map(lambda one: convert(one, dtype), (args, named))

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        return pytree.tree_map(lambda one: convert(one, torch.float32), output)

    model.to(dtype)
    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(after)
    return model


def keep_at_16_bits(quantized: nn.Module, layers: Collection[str], dtype: torch.dtype) -> nn.Module:
    """Store and run these float layers of a quantized model in a float type of 16 bits.

    They are given float32 and return it. What has no weights, such as a sum, stays float32.
    """
    for name in layers:
        layer: Any = quantized.get_submodule(name)
        plain = layer.layer if isinstance(layer, FloatLayer) else layer
        if any(one.is_floating_point() for one in plain.parameters()):
            to_half(plain, dtype)
    return quantized


def dtype_of(form: Form) -> torch.dtype:
    """The float type of kept layers."""
    found: torch.dtype = getattr(torch, form.value)
    return found


def _half(model: nn.Module, context: Context, *, dtype: torch.dtype) -> nn.Module:
    return to_half(model, dtype)


BFLOAT16 = Method.of(METHODS.info("bfloat16"), partial(_half, dtype=torch.bfloat16))
FLOAT16 = Method.of(METHODS.info("float16"), partial(_half, dtype=torch.float16))
