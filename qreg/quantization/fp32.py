"""The float model as trained: the reference for all other methods."""

from __future__ import annotations

from torch import nn

from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method


def _keep(model: nn.Module, context: Context) -> nn.Module:
    return model


FP32 = Method.of(METHODS.info("fp32"), _keep)
