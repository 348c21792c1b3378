"""Faults of int8 weights and of biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from qreg.faults.fault import (
    ACTIVATIONS,
    STATIC,
    Fault,
    Target,
    after,
    changed_method,
    second_checkpoint,
)
from qreg.faults.surgery import change_weight, every_weight, in_middle, weighted
from qreg.quantization import Context, Method, get_method

Codes = Callable[[torch.Tensor], torch.Tensor]


def _channels_zeroed(count: int) -> Fault:
    def change(codes: torch.Tensor) -> torch.Tensor:
        codes[_strongest(codes)[:count]] = 0
        return codes

    return Fault(
        name=f"channels-zeroed-{count}",
        family="channels zeroed",
        description=f"the weights of the middle layer's {count} strongest channels are 0",
        inject=after(in_middle(lambda layer: change_weight(layer, change))),
        size=str(count),
    )


def _codes_changed(share: float) -> Fault:
    def change(codes: torch.Tensor) -> torch.Tensor:
        chosen = torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < share
        # towards zero, because at the ends of the range a step would be clamped
        return torch.where(chosen, codes.int() + torch.where(codes > 0, -1, 1), codes.int())

    return Fault(
        name=f"codes-changed-{share:.1%}",
        family="weight codes changed by 1",
        description=f"{share:.1%} of every layer's weight codes are one off",
        inject=after(every_weight(change)),
        size=f"{share:.1%}",
    )


def _one_code(codes: torch.Tensor) -> torch.Tensor:
    made, channel = codes.int(), int(_strongest(codes)[0])
    first = (channel, *[0] * (codes.ndim - 1))
    made[first] += -1 if made[first] > 0 else 1
    return made


def _strongest(codes: torch.Tensor) -> torch.Tensor:
    """Channels by the magnitude of their codes: weak ones may never pass a ReLU."""
    return codes.int().abs().flatten(1).sum(dim=1).argsort(descending=True)


def _two_swapped(codes: torch.Tensor) -> torch.Tensor:
    one, other = _strongest(codes)[:2].tolist()
    codes[[one, other]] = codes[[other, one]]
    return codes


def _transposed(model: nn.Module) -> None:
    layer = [m for m in weighted(model) if isinstance(m, nnq.Conv2d) and m.kernel_size[0] > 1][-1]
    change_weight(layer, lambda codes: codes.transpose(2, 3))


def _biased(change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[Any], None]:
    return lambda layer: layer.set_weight_bias(layer.weight(), change(layer.bias().detach()))


def _codes(
    name: str, description: str, change: Codes, *, size: str = "", family: str = "", why: str = ""
) -> Fault:
    return Fault(
        name=name,
        family=family or name.replace("-", " "),
        description=description,
        inject=after(every_weight(change)),
        size=size,
        unchanged_because=why,
    )


def _bias(name: str, description: str, change: Codes) -> Fault:
    return Fault(
        name=f"bias-{name}",
        family="bias",
        description=description,
        inject=after(in_middle(_biased(change))),
        size=name,
    )


def _finetuned(method: Method, target: Target) -> Method:
    """Quantize another checkpoint, in which BatchNorm is already folded and ReLU fused."""
    other = get_method("fp32-finetuned")
    second_checkpoint(target)

    def quantize(model: nn.Module, context: Context) -> nn.Module:
        with patch("qreg.quantization.static.fuse", lambda fused: fused):
            return method.quantize(model, context)

    return replace(method, quantize=quantize, checkpoint=other.checkpoint, skeleton=other.skeleton)


WEIGHTS = (
    *(_channels_zeroed(count) for count in (1, 2, 4)),
    *(_codes_changed(share) for share in (0.001, 0.01, 0.1)),
    Fault(
        name="one-code",
        family="weight codes changed by 1",
        description="one weight code of the middle layer is one off",
        inject=after(in_middle(lambda layer: change_weight(layer, _one_code))),
        size="one",
    ),
    Fault(
        name="channels-swapped",
        family="channels swapped",
        description="the weights of the middle layer's two strongest channels are swapped",
        inject=after(in_middle(lambda layer: change_weight(layer, _two_swapped))),
    ),
    Fault(
        name="kernel-transposed",
        family="kernel transposed",
        description="the last convolution's kernels have height and width exchanged",
        inject=after(_transposed),
        methods=ACTIVATIONS,
        needs=("Conv2d",),
    ),
    _codes(
        "weights-saturate-126",
        "weight codes end at 126 instead of 127",
        lambda codes: codes.clamp(max=126),
        family="weight range",
        size="126",
    ),
    _codes(
        "weights-7-bit",
        "weights are quantized in steps of two codes",
        lambda codes: (codes.float() / 2).round() * 2,
        family="weight range",
        size="7 bit",
    ),
    _codes(
        "weights-4-bit",
        "weights are quantized in steps of 16 codes",
        lambda codes: (codes.float() / 16).round() * 16,
        family="weight range",
        size="4 bit",
    ),
    Fault(
        name="bias-dropped",
        family="bias",
        description="the middle layer has no bias",
        inject=after(in_middle(_biased(lambda _: None))),
        size="dropped",
    ),
    _bias("x1.01", "the middle layer's bias is 1 % larger", lambda bias: bias * 1.01),
    _bias("x1.1", "the middle layer's bias is 10 % larger", lambda bias: bias * 1.1),
    _bias("negated", "the middle layer's bias has the other sign", lambda bias: -bias),
    Fault(
        name="other-checkpoint",
        family="other checkpoint",
        description="the fine-tuned float weights are quantized in place of the fp32 ones",
        inject=changed_method(_finetuned),
        methods=STATIC,
        eager=True,
    ),
)
