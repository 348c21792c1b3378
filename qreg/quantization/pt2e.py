"""PT2E: torchao's successor of static quantization and QAT, on exported graphs.

The resulting graph has quantize and dequantize operators around float operators. Run directly, it
simulates the numbers of int8; when compiled, inductor replaces them by int8 kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from qreg.data.inputs import arguments, call, head, repeated
from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method
from qreg.quantization.needs import graph_errors_silenced, logging_silenced
from qreg.quantization.qat import QAT
from qreg.quantization.transfer import trained_float, transfer_ranges


def export_graph(model: nn.Module, example: Any) -> fx.GraphModule:
    """Export a model, in the mode it is in, for batches of any size; `example` has two samples."""
    args, named = arguments(example)
    any_size = {0: torch.export.Dim("batch")}
    shapes: Any = dict.fromkeys(named, any_size) or tuple(any_size for _ in args)
    exported = torch.export.export(model, args, named, dynamic_shapes=shapes)
    graph = exported.module()
    assert isinstance(graph, fx.GraphModule)
    return number_repeats(graph)


def number_repeats(graph: fx.GraphModule) -> fx.GraphModule:
    """Name each further run of a module ``name@1``, ``name@2``, ...

    Else torchao takes the operators of all runs of one ReLU for one, "Input partition has more
    than one output node", and quantizes no network whose blocks use a ReLU twice.
    """
    runs: dict[str, int] = {}
    before: str | None = None
    for node in graph.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op != "call_function" or not stack:
            continue
        key, (path, kind) = list(stack.items())[-1]
        if path != before:
            runs[path] = runs.get(path, -1) + 1
        before = path
        if runs[path]:
            node.meta["nn_module_stack"] = {**stack, key: (f"{path}@{runs[path]}", kind)}
    return graph


@torch.no_grad()
def quantize_pt2e_static(
    model: nn.Module, example: Any, calibration: Iterable[Any]
) -> fx.GraphModule:
    """Export a float model in evaluation mode, observe the calibration batches, convert."""
    return quantize_pt2e_static_keeping(model, example, calibration, ())


@torch.no_grad()
def quantize_pt2e_static_keeping(
    model: nn.Module, example: Any, calibration: Iterable[Any], layers: Iterable[str]
) -> fx.GraphModule:
    """Export, observe and convert a float model, all but these layers."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    # one bit less for activations, like the x86 qconfig: safe on CPUs without VNNI
    config = x86.get_default_x86_inductor_quantization_config(reduce_range=True)
    quantizer = x86.X86InductorQuantizer().set_global(config)
    for layer in layers:
        quantizer.set_module_name_qconfig(layer, None)
    prepared = prepare_pt2e(export_graph(model, example), quantizer)
    for inputs in calibration:
        call(prepared, inputs)
    return without_float_weights(convert_pt2e(prepared))


def prepare_pt2e_qat(model: nn.Module, example: Any) -> fx.GraphModule:
    """Export a float model and insert fake quantization for training."""
    return prepare_pt2e_qat_keeping(model, example, ())


def prepare_pt2e_qat_keeping(
    model: nn.Module, example: Any, layers: Iterable[str]
) -> fx.GraphModule:
    """Export a float model and insert fake quantization for training, all but these layers."""
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(is_qat=True, reduce_range=True)
    quantizer = x86.X86InductorQuantizer().set_global(config)
    for layer in layers:
        quantizer.set_module_name_qconfig(layer, None)
    graph: fx.GraphModule = prepare_qat_pt2e(export_graph(model, example), quantizer)
    return graph


@torch.no_grad()
def convert_pt2e_qat(trained: fx.GraphModule) -> fx.GraphModule:
    """Convert the trained graph to a quantized one."""
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    move_exported_model_to_eval(trained)
    return without_float_weights(convert_pt2e(trained))


def without_float_weights(graph: fx.GraphModule) -> fx.GraphModule:
    """Remove the float weights, which conversion leaves in the graph, and so in saved files."""
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in list(graph.named_parameters()):
        if name not in used:
            module, _, leaf = name.rpartition(".")
            delattr(graph.get_submodule(module), leaf)
    return graph


@torch.no_grad()
def compile_int8(graph: fx.GraphModule, example: Any) -> nn.Module:
    """Have inductor replace dequantize, float operator, quantize by int8 kernels.

    Also run the result under `torch.no_grad()`. It is compiled for a few samples, for one and for
    many, because inductor generates different code for each.
    """
    from torch._inductor import config

    config.freezing = True  # process-wide: both dynamo and inductor read it at each call
    compiled: Any = torch.compile(graph, dynamic=True)
    for inputs in (example, head(example, 1), repeated(example, 32)):
        call(compiled, inputs)
    model: nn.Module = compiled
    return model


def _static(model: nn.Module, context: Context, layers: tuple[str, ...] = ()) -> nn.Module:
    example = context.to_trace()
    with graph_errors_silenced():
        made = quantize_pt2e_static_keeping(model, example, context.calibration(), layers)
    return _evaluated(made)


def _qat(model: nn.Module, context: Context, layers: tuple[str, ...] = ()) -> nn.Module:
    example = context.to_trace()
    with graph_errors_silenced():
        prepared = prepare_pt2e_qat_keeping(trained_float(model), example, layers)
    transfer_ranges(model, prepared, example)
    context.prepared(prepared)
    return _evaluated(convert_pt2e_qat(prepared))


def _compiled(
    model: nn.Module, context: Context, layers: tuple[str, ...] = (), *, method: Any
) -> nn.Module:
    with logging_silenced():
        return compile_int8(method(model, context, layers), context.to_trace())


def _evaluated(graph: fx.GraphModule) -> fx.GraphModule:
    """Allow `eval()`, which converted graphs refuse although they are in that mode."""
    for refused in ("train", "eval"):
        graph.__dict__.pop(refused, None)
    return graph


PT2E_STATIC = Method.of(
    METHODS.info("pt2e-static"),
    _static,
    recipe=(quantize_pt2e_static,),
    keep=_static,
    keep_recipe=(quantize_pt2e_static_keeping,),
)
PT2E_QAT = Method.of(
    METHODS.info("pt2e-qat"),
    _qat,
    skeleton=QAT.skeleton,
    recipe=(prepare_pt2e_qat, convert_pt2e_qat),
    keep=_qat,
    keep_recipe=(prepare_pt2e_qat_keeping, convert_pt2e_qat),
)
PT2E_STATIC_COMPILED = Method.of(
    METHODS.info("pt2e-static-compiled"),
    partial(_compiled, method=_static),
    recipe=(quantize_pt2e_static, compile_int8),
    keep=partial(_compiled, method=_static),
    keep_recipe=(quantize_pt2e_static_keeping, compile_int8),
)
PT2E_QAT_COMPILED = Method.of(
    METHODS.info("pt2e-qat-compiled"),
    partial(_compiled, method=_qat),
    skeleton=QAT.skeleton,
    recipe=(prepare_pt2e_qat, convert_pt2e_qat, compile_int8),
    keep=partial(_compiled, method=_qat),
    keep_recipe=(prepare_pt2e_qat_keeping, convert_pt2e_qat, compile_int8),
)
