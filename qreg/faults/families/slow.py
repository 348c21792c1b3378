"""Faults that change no output, only the time, as when a kernel falls back to float."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from qreg.faults.families.left_float import FloatKernel
from qreg.faults.fault import ACTIVATIONS, Fault, after
from qreg.faults.surgery import change_output, everywhere


def _float_work(layer: nn.Module) -> None:
    """Make the layer also do a reference kernel's work: dequantize, float32, quantize.

    Its output is still the int8 kernel's, bit by bit.
    """
    change_output(layer, _after_work(FloatKernel(layer)))


def _after_work(reference: FloatKernel) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def worked(x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        reference(x)
        return output

    return worked


SLOW = (
    Fault(
        name="slow-kernels",
        family="slow kernels",
        description="every layer does its work in float, too, and gives the int8 kernel's codes",
        inject=after(everywhere(_float_work)),
        size="all layers",
        methods=ACTIVATIONS,
        shows_in_time=True,
    ),
)
