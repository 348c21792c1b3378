"""Static quantization: int8 weights and activations, ranges from calibration samples."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.data.inputs import call
from qreg.quantization import METHODS
from qreg.quantization.eager import Weights, fuse, set_qconfigs, static_qconfig
from qreg.quantization.leaving import leave_float
from qreg.quantization.method import Context, Method
from qreg.quantization.rewriting import place_stubs, rewritten


@torch.no_grad()
def calibrate_eager(model: Any, qconfig: ao.QConfig, calibration: Iterable[Any]) -> nn.Module:
    """Let observers see the calibration batches in a model with stubs and fused layers."""
    prepared = prepare_eager(model, qconfig)
    for inputs in calibration:
        call(prepared, inputs)
    return prepared


def prepare_eager(model: Any, qconfig: ao.QConfig) -> nn.Module:
    """Put observers into a model with stubs and fused layers."""
    set_qconfigs(model, qconfig)
    prepared: nn.Module = ao.prepare(model, inplace=True)
    return prepared


@torch.no_grad()
def quantize_eager_static(model: Any, qconfig: ao.QConfig, calibration: Iterable[Any]) -> nn.Module:
    """Calibrate and convert a model with stubs and fused layers."""
    prepared = calibrate_eager(model, qconfig, calibration)
    quantized: nn.Module = ao.convert(prepared, inplace=True)
    return quantized


@torch.no_grad()
def quantize_eager_static_keeping(
    model: Any, qconfig: ao.QConfig, calibration: Iterable[Any], layers: Collection[str]
) -> nn.Module:
    """Calibrate and convert a model with stubs and fused layers, all but these layers."""
    prepared = leave_float(calibrate_eager(model, qconfig, calibration), layers)
    quantized: nn.Module = ao.convert(prepared, inplace=True)
    return quantized


def quantize_static(model: nn.Module, context: Context, *, weights: Weights) -> nn.Module:
    """Fuse, calibrate and convert."""
    qconfig = static_qconfig(context.engine, weights)
    if context.ranges is None:
        return quantize_eager_static(fuse(model), qconfig, context.calibration())
    prepared, calibration = prepare_eager(fuse(model), qconfig), context.calibration()

    def run() -> None:
        with torch.no_grad():
            for inputs in calibration:
                call(prepared, inputs)

    context.ranges.observe(prepared, run)
    with torch.no_grad(), context.ranges.searching_once():
        quantized: nn.Module = ao.convert(prepared, inplace=True)
    return quantized


def keep_static(
    model: nn.Module, context: Context, layers: tuple[str, ...], *, weights: Weights
) -> nn.Module:
    """Fuse, calibrate and convert all but these layers."""
    qconfig = static_qconfig(context.engine, weights)
    return quantize_eager_static_keeping(fuse(model), qconfig, context.calibration(), layers)


def quantize_static_auto(model: Any, context: Context) -> nn.Module:
    """Fuse a rewritten model, put stubs around what has no quantized kernel, and quantize it."""
    qconfig = static_qconfig(context.engine, "per_channel")
    ready = place_stubs(fuse(model), context.to_trace())  # type: ignore[arg-type]
    return quantize_eager_static(ready, qconfig, context.calibration())


def keep_static_auto(model: Any, context: Context, layers: tuple[str, ...]) -> nn.Module:
    """The same, with these layers in float."""
    qconfig = static_qconfig(context.engine, "per_channel")
    ready = place_stubs(fuse(model), context.to_trace())  # type: ignore[arg-type]
    return quantize_eager_static_keeping(ready, qconfig, context.calibration(), layers)


STATIC = Method.of(
    METHODS.info("static"),
    partial(quantize_static, weights="per_channel"),
    recipe=(quantize_eager_static,),
    keep=partial(keep_static, weights="per_channel"),
    keep_recipe=(quantize_eager_static_keeping,),
)
STATIC_PER_TENSOR = Method.of(
    METHODS.info("static-per-tensor"),
    partial(quantize_static, weights="per_tensor"),
    keep=partial(keep_static, weights="per_tensor"),
    keep_recipe=(quantize_eager_static_keeping,),
)
STATIC_AUTO = Method.of(
    METHODS.info("static-auto"), quantize_static_auto, skeleton=rewritten, keep=keep_static_auto
)
