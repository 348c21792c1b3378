"""bfloat16 and float16: weights and computation in half the bits, without quantization."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method


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


def _half(model: nn.Module, context: Context, *, dtype: torch.dtype) -> nn.Module:
    return to_half(model, dtype)


BFLOAT16 = Method.of(METHODS.info("bfloat16"), partial(_half, dtype=torch.bfloat16))
FLOAT16 = Method.of(METHODS.info("float16"), partial(_half, dtype=torch.float16))
