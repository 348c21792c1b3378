"""Faults of rounding and range: in weights, in a kernel's requantization, in pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.ao.nn.quantized.modules import utils

from qreg.faults.families.left_float import FloatKernel
from qreg.faults.fault import ACTIVATIONS, Fault, after, patched
from qreg.faults.surgery import change_output, in_middle, weighted, with_codes

Rounding = Callable[[torch.Tensor], torch.Tensor]
_NO_TIE = "no weight lies half way between two codes"


def half_away(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer, ties away from zero."""
    return torch.sign(x) * torch.floor(x.abs() + 0.5)


def _quantized_weight(rounding: Rounding) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    """torch's `_quantize_weight` with a different rounding."""

    def quantize(weight: torch.Tensor, observer: Any) -> torch.Tensor:
        usual = utils._quantize_weight(weight, observer)
        scale = observer.calculate_qparams()[0].reshape(-1, *[1] * (weight.ndim - 1))
        codes = rounding(weight.detach() * (1 / scale)).clamp(-128, 127).to(torch.int8)
        return with_codes(usual, codes)

    return quantize


def _weights(name: str, description: str, rounding: Rounding, *, why: str = "") -> Fault:
    modules = (
        "torch.ao.nn.quantized.modules.conv",
        "torch.ao.nn.quantized.modules.linear",
        "torch.ao.nn.quantized.dynamic.modules.linear",
    )
    quantize = _quantized_weight(rounding)
    return Fault(
        name=f"weights-{name}",
        family="rounding of weights",
        description=description,
        inject=patched(*((f"{module}._quantize_weight", quantize) for module in modules)),
        size=name,
        unchanged_because=why,
        eager=True,
    )


def _requantized(rounding: Rounding) -> Callable[[Any], None]:
    """Requantize a layer's sums with a different rounding than to nearest even.

    The kernel's codes are shifted by the difference; its own float32 sums are kept.
    """

    def change(layer: Any) -> None:
        exact = FloatKernel(layer)
        lowest = layer.zero_point if exact.relu else 0

        def again(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
            steps = _sums(exact, x) / out.q_scale()
            codes = out.int_repr() + (rounding(steps) - torch.round(steps))
            return with_codes(out, codes.clamp(lowest, 255).to(torch.uint8))

        change_output(layer, again)

    return change


def _sums(exact: FloatKernel, x: torch.Tensor) -> torch.Tensor:
    """The layer's values before quantization, in float64."""
    layer = exact.layer[0]
    weight, bias = exact.weight.double(), exact.bias.double()
    values = x.dequantize().double()
    if hasattr(layer, "kernel_size"):
        places = (layer.stride, layer.padding, layer.dilation, layer.groups)
        convolve = nn.functional.conv1d if weight.ndim == 3 else nn.functional.conv2d
        return convolve(values, weight, bias, *places)
    return nn.functional.linear(values, weight, bias)


def _ends_at(highest: int) -> Callable[[Any], None]:
    def change(layer: Any) -> None:
        def cut(_: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
            return with_codes(out, out.int_repr().clamp(max=highest))

        change_output(layer, cut)

    return change


def _first_ends_at(highest: int) -> Callable[[nn.Module], None]:
    return lambda model: _ends_at(highest)(weighted(model)[0])


def _pool(model: nn.Module) -> None:
    """Round the average pool half away from zero: of 64 integers, 1 average in 64 is a tie."""
    pool = next(m for m in model.modules() if isinstance(m, nn.AdaptiveAvgPool2d))

    def average(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        zero = out.q_zero_point()
        mean = (x.int_repr().double() - zero).mean(dim=(2, 3), keepdim=True)
        return with_codes(out, (half_away(mean) + zero).clamp(0, 255).to(torch.uint8))

    change_output(pool, average)


def _kernel(name: str, description: str, rounding: Rounding, *, why: str = "") -> Fault:
    return Fault(
        name=f"requantization-{name}",
        family="requantization",
        description=description,
        inject=after(in_middle(_requantized(rounding))),
        size=name,
        methods=ACTIVATIONS,
        unchanged_because=why,
    )


ROUNDING = (
    _weights("half-away", "weights are rounded half away from zero", half_away, why=_NO_TIE),
    _weights("truncated", "weights are rounded towards zero", torch.trunc),
    _kernel(
        "half-away",
        "the middle layer's exact sums are rounded half away from zero",
        half_away,
        why="no sum lies half way between two codes",
    ),
    _kernel("floor", "the middle layer's sums are rounded down", torch.floor),
    Fault(
        name="pool-half-away",
        family="rounding of a pool",
        description="the average pool rounds half away from zero",
        inject=after(_pool),
        methods=ACTIVATIONS,
        needs=("AdaptiveAvgPool2d",),
    ),
    *(
        Fault(
            name=f"outputs-end-at-{highest}",
            family="activation range",
            description=f"the first layer's output codes end at {highest}",
            inject=after(_first_ends_at(highest)),
            size=str(highest),
            methods=ACTIVATIONS,
        )
        for highest in (126, 100, 63)
    ),
)
