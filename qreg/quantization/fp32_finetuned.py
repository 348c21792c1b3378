"""The control for QAT: the float model after exactly the extra training steps of QAT.

QAT trains longer than the fp32 checkpoint, and longer training alone changes accuracy. This model
has BatchNorm folded and is trained on the same batches with the same learning rates as `qat`, but
without fake quantization.
"""

from __future__ import annotations

from torch import nn

from qreg.quantization import METHODS
from qreg.quantization.eager import fuse
from qreg.quantization.method import Context, Method


def finetune_skeleton(model: nn.Module) -> nn.Module:
    """Fold BatchNorm and fuse ReLU, as QAT does before fine-tuning."""
    return fuse(model)


def _keep(model: nn.Module, context: Context) -> nn.Module:
    return model


FP32_FINETUNED = Method.of(METHODS.info("fp32-finetuned"), _keep, skeleton=finetune_skeleton)
