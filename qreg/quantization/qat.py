"""Quantization-aware training: fine-tuning the fp32 checkpoint with fake quantization.

BatchNorm is folded before fine-tuning ("static folding": Nagel et al., "A white paper on neural
network quantization", 2021, section 4.2), so that the trained weights are the stored ones.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from torch import nn
from torch.ao import quantization as ao

from qreg.quantization import METHODS
from qreg.quantization.eager import Weights, qat_qconfig, set_qconfigs
from qreg.quantization.leaving import leave_float
from qreg.quantization.method import Context, Method
from qreg.quantization.rewriting import ready_for_training


def prepare_eager_qat(model: Any, qconfig: ao.QConfig) -> nn.Module:
    """Insert fake quantization into a model with stubs and fused layers, for training."""
    set_qconfigs(model, qconfig)
    prepared: nn.Module = ao.prepare_qat(model.train(), inplace=True)
    return prepared


def convert_eager_qat(trained: nn.Module) -> nn.Module:
    """Convert the trained model to a quantized one."""
    quantized: nn.Module = ao.convert(trained.eval(), inplace=True)
    return quantized


def convert_eager_qat_keeping(trained: nn.Module, layers: Collection[str]) -> nn.Module:
    """Convert the trained model to a quantized one, all but these layers."""
    quantized: nn.Module = ao.convert(leave_float(trained.eval(), layers), inplace=True)
    return quantized


def qat_skeleton(model: nn.Module, *, weights: Weights) -> nn.Module:
    """Fuse layers and insert fake quantization; in evaluation mode with observers disabled.

    A network with a plain ``+``, ``*`` or an activation without a quantized kernel is rewritten.
    """
    prepared = prepare_eager_qat(ready_for_training(model), qat_qconfig(weights))
    prepared.apply(ao.disable_observer)
    return prepared.eval()


def convert_qat(model: nn.Module, context: Context) -> nn.Module:
    """Convert the fake-quantized model to a quantized one."""
    return convert_eager_qat(model)


def keep_qat(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    """Convert all but these layers."""
    return convert_eager_qat_keeping(model, layers)


QAT = Method.of(
    METHODS.info("qat"),
    convert_qat,
    skeleton=partial(qat_skeleton, weights="per_channel"),
    recipe=(prepare_eager_qat, convert_eager_qat),
    keep=keep_qat,
    keep_recipe=(prepare_eager_qat, convert_eager_qat_keeping),
)
QAT_PER_TENSOR = Method.of(
    METHODS.info("qat-per-tensor"),
    convert_qat,
    skeleton=partial(qat_skeleton, weights="per_tensor"),
    keep=keep_qat,
    keep_recipe=(prepare_eager_qat, convert_eager_qat_keeping),
)
