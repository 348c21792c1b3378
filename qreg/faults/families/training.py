"""Faults of quantization-aware training, applied to its result."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.faults.fault import (
    GRAPH_QAT,
    QAT,
    Fault,
    Injection,
    Target,
    after,
    before,
    changed_method,
    patched,
    second_checkpoint,
)
from qreg.faults.surgery import in_middle
from qreg.measure.subject import calibration_samples
from qreg.models import build_model
from qreg.quantization import Context, Method, get_method
from qreg.records.method import Need
from qreg.training.checkpoints import load_checkpoint


def _training_inputs(target: Target) -> Iterator[Inputs]:
    dataset = target.options.dataset(target.case.dataset)
    train = calibration_samples(dataset, target.options)
    return (batch.inputs for batch in train.batches(64))


def _trained_in_float(target: Target) -> nn.Module:
    """The control: trained with the same steps but without fake quantization."""
    kind, path = get_method("fp32-finetuned"), second_checkpoint(target)
    return load_checkpoint(path, lambda: kind.skeleton(build_model(target.case.model)))[0]


def _fake_quant_off(method: Method, target: Target) -> Method:
    """Use weights trained without fake quantization, with ranges observed afterwards."""

    def quantize(model: nn.Module, context: Context) -> nn.Module:
        given = dict(_trained_in_float(target).named_parameters())
        for name, parameter in model.named_parameters():
            # a fused float layer contains its convolution as its child "0"
            parameter.copy_(given.get(name, given.get(_in_child(name), parameter)))
        for module in model.modules():
            if (fake_quant := getattr(module, "weight_fake_quant", None)) is not None:
                fake_quant.apply(ao.enable_observer)(module.weight)
        return method.quantize(model, context)

    return replace(method, quantize=quantize)


def _in_child(name: str) -> str:
    layer, _, leaf = name.rpartition(".")
    return f"{layer}.0.{leaf}"


def _observers_on(method: Method, target: Target) -> Method:
    """Keep observing ranges after training."""

    def quantize(model: nn.Module, context: Context) -> nn.Module:
        model.apply(ao.enable_observer)
        for given in _training_inputs(target):
            inputs.call(model, given)
        return method.quantize(model, context)

    return replace(method, quantize=quantize)


def _observers_never_on(model: nn.Module) -> None:
    for name, module in model.named_modules():
        found: Any = module
        if isinstance(module, ao.FakeQuantizeBase) and not name.endswith("weight_fake_quant"):
            found.activation_post_process.reset_min_max_vals()


_MODULES = ("FakeQuantize", "FusedMovingAvgObsFakeQuantize")
#: torchao has its own, of the same names.
_OWNERS = {
    Need.TORCHAO: "torchao.quantization.pt2e.fake_quantize",
    None: "torch.ao.quantization.fake_quantize",
}


def _in_every_fake_quantizer(
    change: Callable[
        [Callable[[Any, torch.Tensor], torch.Tensor], Any, torch.Tensor], torch.Tensor
    ],
) -> Injection:
    """Put `change`, given the original forward, module and input, in place of forward."""

    def changed(original: Any) -> Any:
        return lambda module, x: change(original, module, x)

    def inject(target: Target) -> AbstractContextManager[None]:
        torchao = Need.TORCHAO in get_method(target.case.method).requires
        owner = _OWNERS[Need.TORCHAO if torchao else None]
        kinds = vars(importlib.import_module(owner))
        return patched(
            *((f"{owner}.{name}.forward", changed(kinds[name].forward)) for name in _MODULES)
        )(target)

    return inject


def _unchanged(_: Any, __: Any, x: torch.Tensor) -> torch.Tensor:
    return x


def _slower_range(original: Any, module: Any, x: torch.Tensor) -> torch.Tensor:
    observer = module.activation_post_process
    before = observer.averaging_constant
    observer.averaging_constant = before / 2
    try:
        found: torch.Tensor = original(module, x)
    finally:
        observer.averaging_constant = before
    return found


def _forget_range(layer: Any) -> None:
    layer.scale, layer.zero_point = 1.0, 0


def _path(name: str, description: str, change: Any) -> Fault:
    return Fault(
        name=name,
        family="QAT's own path",
        description=description,
        inject=_in_every_fake_quantizer(change),
        size=name,
        methods=(*QAT, *GRAPH_QAT),
    )


TRAINING = (
    _path(
        "fake-quant-passes-through",
        "PyTorch's fake-quantizers return their input unchanged",
        _unchanged,
    ),
    _path(
        "gradient-outside-range",
        "the straight-through gradient is 1 outside of the range, too",
        lambda original, module, x: x + (original(module, x) - x).detach(),
    ),
    _path(
        "gradient-zero",
        "fake-quantizers have no gradient",
        lambda original, module, x: original(module, x).detach() + 0 * x,
    ),
    _path(
        "gradient-x0.99",
        "the straight-through gradient is 1 % smaller",
        lambda original, module, x: 0.99 * (found := original(module, x)) + 0.01 * found.detach(),
    ),
    _path(
        "moving-average-halved",
        "observed ranges move half as fast as their constant says",
        _slower_range,
    ),
    Fault(
        name="conversion-drops-range",
        family="conversion",
        description="conversion leaves the middle layer's output a scale of 1",
        inject=after(in_middle(_forget_range)),
        size="middle layer",
        methods=QAT,
    ),
    Fault(
        name="fake-quant-off",
        family="training",
        description="fake quantization was off in training: the control's weights are quantized",
        inject=changed_method(_fake_quant_off),
        size="fake quantization off",
        methods=QAT,
    ),
    Fault(
        name="observers-on-after-training",
        family="training",
        description="observers go on for 512 images after training",
        inject=changed_method(_observers_on),
        size="observers on",
        methods=QAT,
    ),
    Fault(
        name="observers-never-on",
        family="training",
        description="no activation was observed in training",
        inject=before(_observers_never_on),
        size="observers never on",
        methods=QAT,
    ),
)
