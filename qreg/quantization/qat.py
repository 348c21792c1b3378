"""Quantization-aware training: fine-tuned from the fp32 checkpoint with fake quantization.

BatchNorm is folded before fine-tuning ("static folding": Nagel et al., "A white paper on neural
network quantization", 2021, section 4.2), so that the weights trained are the weights stored.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.ao import quantization as ao

from qreg.quantization.eager import (
    Weights,
    fuse,
    qat_qconfig,
    set_qconfig,
)
from qreg.quantization.method import Context, Method


def qat_skeleton(model: nn.Module, *, weights: Weights) -> nn.Module:
    """Fuse and put fake quantization everywhere; in evaluation mode, observers off."""
    set_qconfig(fuse(model), qat_qconfig(weights)).train()
    ao.prepare_qat(model, inplace=True)
    model.apply(ao.disable_observer)
    return model.eval()


def convert_qat(model: nn.Module, context: Context) -> nn.Module:
    """Turn the fake-quantized model into a quantized one."""
    ao.convert(model, inplace=True)
    return model


QAT = Method(
    name="qat",
    checkpoint="qat",
    skeleton=partial(qat_skeleton, weights="per_channel"),
    quantize=convert_qat,
    control="fp32-finetuned",
)
QAT_PER_TENSOR = Method(
    name="qat-per-tensor",
    checkpoint="qat-per-tensor",
    skeleton=partial(qat_skeleton, weights="per_tensor"),
    quantize=convert_qat,
    control="fp32-finetuned",
)
