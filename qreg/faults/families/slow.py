"""Faults that change no number: the work takes longer, as it does where a kernel falls back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from qreg.faults.families.left_float import FloatLayer
from qreg.faults.fault import ACTIVATIONS, Fault, after
from qreg.faults.surgery import change_output, everywhere


def _float_work(layer: nn.Module) -> None:
    """The layer does a reference kernel's work, too: codes to floats, float32, floats to codes.

    What it gives is what the int8 kernel gave, to the bit.
    """
    change_output(layer, _after_work(FloatLayer(layer)))


def _after_work(reference: FloatLayer) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
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
