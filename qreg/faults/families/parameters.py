"""Faults of scales and zero points."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.ao.nn import quantized as nnq
from torch.ao.quantization import observer

from qreg.faults.fault import ACTIVATIONS, STATIC, Fault, after, before, patched
from qreg.faults.surgery import (
    change_output,
    change_scales,
    every_weight,
    in_middle,
    weighted,
)
from qreg.quantization.eager import static_qconfig

_PER_CHANNEL = ("static", "qat")


def _zero_point(step: int) -> Fault:
    def change(model: nn.Module) -> None:
        layer = next(x for x in reversed(weighted(model)) if 0 <= x.zero_point + step <= 255)
        layer.zero_point += step

    return Fault(
        name=f"zero-point{step:+d}",
        family="zero point",
        description=f"the last layer whose zero point can be is quantized with {step:+d}",
        inject=after(change),
        size=f"{step:+d}",
        methods=ACTIVATIONS,
    )


def _misread(step: int) -> Fault:
    def shifted(_: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        scale, zero = out.q_scale(), out.q_zero_point() + step
        return torch._make_per_tensor_quantized_tensor(out.int_repr(), scale, zero)

    return Fault(
        name=f"zero-point-misread{step:+d}",
        family="zero point misread",
        description=f"what follows the middle layer takes its zero point for {step:+d}",
        inject=after(in_middle(lambda layer: change_output(layer, shifted))),
        size=f"{step:+d}",
        methods=ACTIVATIONS,
    )


def _scale(factor: float) -> Fault:
    def change(layer: Any) -> None:
        layer.scale *= factor

    return Fault(
        name=f"scale-x{factor:g}",
        family="scale",
        description=f"the middle layer's output has its scale times {factor:g}",
        inject=after(in_middle(change)),
        size=f"x{factor:g}",
        methods=ACTIVATIONS,
    )


def _weight_scale(factor: float) -> Fault:
    return Fault(
        name=f"weight-scale-x{factor:g}",
        family="weight scale",
        description=f"the middle layer's weight has its scales times {factor:g}, the codes kept",
        inject=after(in_middle(lambda layer: change_scales(layer, lambda s: s * factor))),
        size=f"x{factor:g}",
    )


def _input_zero_point(model: nn.Module) -> None:
    quantizers = [module for module in model.modules() if isinstance(module, nnq.Quantize)]
    if not quantizers:
        raise IndexError("nothing quantizes the input")
    for module in quantizers:
        module.zero_point = module.zero_point + 1


def _swapped(scales: torch.Tensor) -> torch.Tensor:
    """Exchange the smallest and the largest scale."""
    low, high = int(scales.argmin()), int(scales.argmax())
    scales[[low, high]] = scales[[high, low]]
    return scales


def _negated(codes: torch.Tensor) -> torch.Tensor:
    return -codes.clamp(min=-127)


def _per_tensor(model: nn.Module) -> None:
    """Replace the fake quantization of weights by a per-tensor observer of the weight."""
    for module in model.modules():
        if hasattr(module, "weight_fake_quant"):
            made: Any = observer.default_weight_observer()
            made(module.weight)
            module.weight_fake_quant = made


PARAMETERS = (
    *(_zero_point(step) for step in (1, -1, 2, 4, 8)),
    *(_misread(step) for step in (1, 2, 4, 8)),
    *(_scale(factor) for factor in (1.001, 1.01, 1.02, 1.05, 1.1)),
    *(_weight_scale(factor) for factor in (1.001, 1.01, 1.02, 1.05, 1.1)),
    Fault(
        name="input-zero-point+1",
        family="zero point",
        description="images are quantized with a zero point of one more",
        inject=after(_input_zero_point),
        size="input +1",
        methods=ACTIVATIONS,
    ),
    Fault(
        name="swapped-scales",
        family="channel scales",
        description="the middle layer's smallest and largest channel scales are swapped",
        inject=after(in_middle(lambda layer: change_scales(layer, _swapped))),
        size="2 swapped",
        methods=_PER_CHANNEL,
    ),
    Fault(
        name="reversed-scales",
        family="channel scales",
        description="the middle layer's channel scales are in reverse order",
        inject=after(in_middle(lambda layer: change_scales(layer, lambda s: s.flip(0)))),
        size="all reversed",
        methods=_PER_CHANNEL,
    ),
    Fault(
        name="weights-negated",
        family="weight sign",
        description="every layer's weight codes have the other sign",
        inject=after(every_weight(_negated)),
    ),
    Fault(
        name="per-tensor",
        family="per tensor",
        description="weights are quantized per tensor instead of per channel",
        inject=patched(
            (
                "qreg.quantization.static.static_qconfig",
                lambda engine, _: static_qconfig(engine, "per_tensor"),
            )
        ),
        methods=STATIC[:1],
        eager=True,
    ),
    Fault(
        name="per-tensor-qat",
        family="per tensor",
        description="weights trained per channel are quantized per tensor",
        inject=before(_per_tensor),
        methods=("qat",),
    ),
)
