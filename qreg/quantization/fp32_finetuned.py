"""The control of QAT: the float model after exactly the extra steps that QAT takes.

QAT trains longer than the fp32 checkpoint did, and longer training alone changes accuracy.
This model has BatchNorm folded and takes the same batches at the same learning rates as `qat`,
without fake quantization.
"""

from __future__ import annotations

from torch import nn

from qreg.quantization import METHODS
from qreg.quantization.eager import fuse
from qreg.quantization.method import Context, Method


def finetune_skeleton(model: nn.Module) -> nn.Module:
    """Fold BatchNorm and fuse ReLU, as QAT does before it fine-tunes."""
    return fuse(model)


def _keep(model: nn.Module, context: Context) -> nn.Module:
    return model


FP32_FINETUNED = Method.of(METHODS.info("fp32-finetuned"), _keep, skeleton=finetune_skeleton)
