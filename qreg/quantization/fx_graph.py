"""FX graph mode: the successor of eager mode in torch.ao, deprecated like it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import fx, nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx

from qreg.data.inputs import arguments, call
from qreg.quantization import METHODS
from qreg.quantization.eager import qat_qconfig, static_qconfig
from qreg.quantization.method import Context, Method
from qreg.quantization.qat import QAT
from qreg.quantization.transfer import trained_float, transfer_ranges


@torch.no_grad()
def quantize_fx_static(
    model: nn.Module, qconfig: ao.QConfig, calibration: Iterable[Any]
) -> fx.GraphModule:
    """Trace a float model in evaluation mode, observe the calibration batches, convert."""
    return calibrate_and_convert_fx(model, fx_mapping(qconfig), calibration)


@torch.no_grad()
def quantize_fx_static_keeping(
    model: nn.Module, qconfig: ao.QConfig, calibration: Iterable[Any], layers: Iterable[str]
) -> fx.GraphModule:
    """Trace, observe and convert a float model, all but these layers."""
    mapping = fx_mapping(qconfig)
    for layer in layers:
        mapping.set_module_name(layer, None)
    return calibrate_and_convert_fx(model, mapping, calibration)


def fx_mapping(qconfig: ao.QConfig) -> ao.QConfigMapping:
    """One qconfig for the whole model, but for what PyTorch cannot quantize with it."""
    mapping = ao.QConfigMapping().set_global(qconfig)
    # PyTorch has no weights with a scale a channel for these; its quantized PReLU
    # multiplies positive values by the slope, too (2.14.1), and so stays float
    per_tensor = ao.QConfig(activation=qconfig.activation, weight=ao.default_weight_observer)
    for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
        mapping.set_object_type(kind, per_tensor)
    for left_float in (nn.PReLU, nn.Embedding, nn.EmbeddingBag):
        mapping.set_object_type(left_float, None)
    return mapping


def calibrate_and_convert_fx(
    model: nn.Module, mapping: ao.QConfigMapping, calibration: Iterable[Any]
) -> fx.GraphModule:
    """Trace a float model, observe the calibration batches, convert."""
    batches = iter(calibration)
    first = next(batches, None)
    if first is None:
        raise ValueError("there is no calibration sample")
    prepared = quantize_fx.prepare_fx(model, mapping, arguments(first)[0])
    observe_floats_only(prepared, first)
    for inputs in batches:
        call(prepared, inputs)
    return quantize_fx.convert_fx(prepared)


def observe_floats_only(prepared: fx.GraphModule, first: Any) -> None:
    """Run a prepared graph on a batch; observers that are given ids or masks are taken out."""
    graph, unfit = prepared.graph, list[Any]()

    class Running(fx.Interpreter):
        def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
            observes = isinstance(prepared.get_submodule(target), ao.ObserverBase)
            if observes and not (isinstance(args[0], torch.Tensor) and args[0].is_floating_point()):
                unfit.extend(node for node in graph.nodes if node.target == target)
                return args[0]
            return super().call_module(target, args, kwargs)

    args, named = arguments(first)
    left = [node for node in graph.nodes if node.op == "placeholder"][len(args) :]
    Running(prepared).run(*args, *(named.get(str(one.target), *one.args) for one in left))
    for node in dict.fromkeys(unfit):
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
    prepared.recompile()


def prepare_fx_qat(model: nn.Module, qconfig: ao.QConfig, example: Any) -> fx.GraphModule:
    """Trace a float model and put fake quantization into it, to be trained."""
    mapping = fx_mapping(qconfig)
    return quantize_fx.prepare_qat_fx(model.train(), mapping, arguments(example)[0])


def prepare_fx_qat_keeping(
    model: nn.Module, qconfig: ao.QConfig, example: Any, layers: Iterable[str]
) -> fx.GraphModule:
    """The same, all but these layers, which stay in float."""
    mapping = fx_mapping(qconfig)
    for layer in layers:
        mapping.set_module_name(layer, None)
    return quantize_fx.prepare_qat_fx(model.train(), mapping, arguments(example)[0])


def convert_fx_qat(trained: fx.GraphModule) -> fx.GraphModule:
    """Turn the trained graph into a quantized one."""
    return quantize_fx.convert_fx(trained.eval())


def _static(model: nn.Module, context: Context) -> nn.Module:
    qconfig = static_qconfig(context.engine, "per_channel")
    with context.ranges.searching_once() if context.ranges else nullcontext():
        return quantize_fx_static(model, qconfig, context.calibration())


def _qat(model: nn.Module, context: Context) -> nn.Module:
    example = context.to_trace()
    prepared = prepare_fx_qat(trained_float(model), qat_qconfig("per_channel"), example)
    transfer_ranges(model, prepared.eval(), example)
    context.prepared(prepared)
    return convert_fx_qat(prepared)


def _keep_static(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    qconfig = static_qconfig(context.engine, "per_channel")
    return quantize_fx_static_keeping(model, qconfig, context.calibration(), layers)


def _keep_qat(model: nn.Module, context: Context, layers: tuple[str, ...]) -> nn.Module:
    example, qconfig = context.to_trace(), qat_qconfig("per_channel")
    prepared = prepare_fx_qat_keeping(trained_float(model), qconfig, example, layers)
    transfer_ranges(model, prepared.eval(), example)
    context.prepared(prepared)
    return convert_fx_qat(prepared)


FX_STATIC = Method.of(
    METHODS.info("fx-static"),
    _static,
    recipe=(quantize_fx_static,),
    keep=_keep_static,
    keep_recipe=(quantize_fx_static_keeping,),
)
FX_QAT = Method.of(
    METHODS.info("fx-qat"),
    _qat,
    skeleton=QAT.skeleton,
    recipe=(prepare_fx_qat, convert_fx_qat),
    keep=_keep_qat,
    keep_recipe=(prepare_fx_qat_keeping, convert_fx_qat),
)
