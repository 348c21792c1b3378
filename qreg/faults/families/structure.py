"""Faults of the network's structure: folding, fusing, pooling, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import quantized as nnq
from torch.nn import functional

from qreg.faults.fault import (
    ACTIVATIONS,
    DYNAMIC,
    NO_PLACE,
    QUANTIZED,
    STATIC,
    Fault,
    after,
    before,
    patched,
)
from qreg.faults.surgery import change_input, replace_module
from qreg.quantization.eager import fusable_groups

_FUSE = "qreg.quantization.static.fuse"


def _nothing_fused(model: nn.Module) -> nn.Module:
    _groups_without(nn.BatchNorm2d, model)
    return model


def _without(kind: type[nn.Module]) -> Callable[[nn.Module], nn.Module]:
    """A `fuse` that skips modules of this kind."""

    def fuse(model: nn.Module) -> nn.Module:
        groups = [group for group in _groups_without(kind, model) if len(group) > 1]
        return ao.fuse_modules(model, groups, inplace=True) if groups else model

    return fuse


def _groups_without(kind: type[nn.Module], model: nn.Module) -> list[list[str]]:
    """Names of what is fused, without the modules of this kind.

    Raises:
        RuntimeError: `NO_PLACE`: none is fused.
    """
    groups = fusable_groups(model.eval())
    kept = [[n for n in g if not isinstance(model.get_submodule(n), kind)] for g in groups]
    if kept == groups:
        raise RuntimeError(NO_PLACE)
    return kept


def _first_of(kind: type[nn.Module], change: Callable[[Any], Any]) -> Callable[[nn.Module], None]:
    """Change the first module of a kind, or replace it by what `change` returns."""

    def change_first(model: nn.Module) -> None:
        name, module = next((n, m) for n, m in model.named_modules() if isinstance(m, kind))
        made = change(module)
        if isinstance(made, nn.Module):
            replace_module(model, name, made)

    return change_first


def _all_norms(change: Callable[[Any], None]) -> Callable[[nn.Module], None]:
    def change_all(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                change(module)

    return change_all


def _eps(norm: Any) -> None:
    norm.eps = 1e-3


def _statistics(norm: Any) -> None:
    norm.running_var.mul_(1.05)


def _subsampled(pool: Any) -> None:
    pool.kernel_size = 1


def _padded_with_code_0(model: nn.Module) -> None:
    layer = next(m for m in model.modules() if isinstance(m, nnq.Conv2d) and m.padding[0])
    rows, columns = layer.padding
    layer.padding = (0, 0)
    layer.set_weight_bias(layer.weight(), layer.bias())

    def pad(x: torch.Tensor) -> torch.Tensor:
        codes = functional.pad(x.int_repr(), (columns, columns, rows, rows))
        return torch._make_per_tensor_quantized_tensor(codes, x.q_scale(), x.q_zero_point())

    change_input(layer, pad)


STRUCTURE = (
    Fault(
        name="batchnorm-not-folded",
        family="folding",
        description="BatchNorm is a layer of its own",
        inject=patched((_FUSE, _nothing_fused)),
        methods=STATIC,
        eager=True,
        needs=("BatchNorm2d",),
    ),
    Fault(
        name="batchnorm-eps",
        family="folding",
        description="BatchNorm is folded with an eps of 1e-3",
        inject=before(_all_norms(_eps)),
        methods=STATIC,
        needs=("BatchNorm2d",),
    ),
    Fault(
        name="batchnorm-variance",
        family="folding",
        description="BatchNorm is folded with variances 5 % larger",
        inject=before(_all_norms(_statistics)),
        methods=STATIC,
        needs=("BatchNorm2d",),
    ),
    Fault(
        name="relu-lost",
        family="ReLU",
        description="the first ReLU is lost",
        inject=before(_first_of(nn.ReLU, lambda _: nn.Identity())),
        size="lost",
        methods=(*STATIC, *DYNAMIC),
        needs=("ReLU",),
    ),
    Fault(
        name="relu-not-fused",
        family="ReLU",
        description="ReLU is an operator of its own",
        inject=patched((_FUSE, _without(nn.ReLU))),
        size="not fused",
        methods=STATIC,
        eager=True,
        needs=("ReLU",),
    ),
    Fault(
        name="pool-subsamples",
        family="pooling",
        description="max pooling takes one pixel of each window",
        inject=after(_first_of(nn.MaxPool2d, _subsampled)),
        methods=QUANTIZED,
        needs=("MaxPool2d",),
    ),
    Fault(
        name="padded-with-code-0",
        family="padding",
        description="the first padded convolution pads with code 0, not with its zero point",
        inject=after(_padded_with_code_0),
        methods=ACTIVATIONS,
        needs=("Conv2d",),
    ),
)
