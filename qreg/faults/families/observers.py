"""Faults of the observers that determine ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import observer

from qreg.faults.fault import ACTIVATIONS, STATIC, Fault, after, patched
from qreg.faults.surgery import in_middle
from qreg.quantization.eager import Weights, static_qconfig

_NO_VNNI = ("FBGEMM_ENABLE_INSTRUCTIONS=AVX2", "ONEDNN_MAX_CPU_ISA=AVX2")


def _observed(
    activation: Callable[[ao.QConfig], Any],
) -> Callable[[str, Weights], ao.QConfig]:
    def qconfig(engine: str, weights: Weights) -> ao.QConfig:
        made = static_qconfig(engine, weights)
        return ao.QConfig(activation=activation(made), weight=made.weight)

    return qconfig


def _observer(name: str, description: str, activation: Callable[[ao.QConfig], Any]) -> Fault:
    return Fault(
        name=name,
        family="observer",
        description=description,
        inject=patched(("qreg.quantization.static.static_qconfig", _observed(activation))),
        size=name.removeprefix("observer-"),
        methods=STATIC,
        eager=True,
    )


def _moved(owner: type[Any], change: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
    """An observer's calculate_qparams with a changed result."""
    original = owner.calculate_qparams

    def calculate_qparams(self: Any) -> tuple[Any, Any]:
        return change(*original(self))

    return calculate_qparams


def _left_on(layer: Any) -> None:
    """Leave an active observer in the converted model."""
    active = observer.MinMaxObserver()
    layer.add_module("activation_post_process", active)

    def see(module: nn.Module, _: Any, out: torch.Tensor) -> None:
        active(out.dequantize())

    layer.register_forward_hook(see)


_OBSERVER = "torch.ao.quantization.observer"

OBSERVERS = (
    _observer(
        "observer-min-max",
        "activations' ranges are the smallest and the largest value, not a histogram's",
        lambda made: observer.MinMaxObserver.with_args(reduce_range=made.activation().reduce_range),
    ),
    _observer(
        "observer-symmetric",
        "activations are quantized symmetrically",
        lambda made: observer.HistogramObserver.with_args(
            qscheme=torch.per_tensor_symmetric, reduce_range=made.activation().reduce_range
        ),
    ),
    Fault(
        name="observer-zero-point+1",
        family="observer",
        description="torch's HistogramObserver gives zero points of one more",
        inject=patched(
            (
                f"{_OBSERVER}.HistogramObserver.calculate_qparams",
                _moved(observer.HistogramObserver, lambda scale, zero: (scale, zero + 1)),
            )
        ),
        size="zero point +1",
        methods=STATIC,
    ),
    Fault(
        name="observer-scale-x1.01",
        family="observer",
        description="torch's HistogramObserver gives scales 1 % larger",
        inject=patched(
            (
                f"{_OBSERVER}.HistogramObserver.calculate_qparams",
                _moved(observer.HistogramObserver, lambda scale, zero: (scale * 1.01, zero)),
            )
        ),
        size="scale x1.01",
        methods=STATIC,
    ),
    Fault(
        name="observer-left-on",
        family="observer left on",
        description="an observer stays in the middle layer of the converted model",
        inject=after(in_middle(_left_on)),
        methods=ACTIVATIONS,
    ),
    Fault(
        name="reduce-range-off",
        family="reduce range",
        description="activations use 8 bits on a CPU that adds products in saturating 16 bits",
        inject=patched(
            (
                "qreg.quantization.static.static_qconfig",
                _observed(lambda _: observer.HistogramObserver.with_args(reduce_range=False)),
            )
        ),
        methods=STATIC,
        engines=("x86", "fbgemm"),
        limits=_NO_VNNI,
        eager=True,
    ),
)
