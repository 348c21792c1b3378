"""Numerics of each layer: quantization parameters, digest and SQNR of its output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional, QFunctional

from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.torchscript import is_script, script_layers, script_values
from qreg.data.inputs import Inputs, Run, call
from qreg.metrics.graph_layers import graph_layers, graph_values
from qreg.metrics.graphs import can_be_watched, exported_graph
from qreg.metrics.parameters import (
    biases,
    is_packed_recurrent,
    joint_digest,
    joint_quantizer,
    weights,
)
from qreg.metrics.tensors import digest, quantizer, sqnr
from qreg.quantization.eager import fold_batch_norm, fuse
from qreg.records.numerics import Layer

# The result of an addition passes through this child of FloatFunctional and QFunctional.
_RESULT = "activation_post_process"
_SILENT = (nn.Identity, nn.Dropout, nn.Flatten, ao.QuantStub, ao.DeQuantStub)
_STUBBED = "model."
See = Callable[[str, torch.Tensor], None]


def float_twin(model: nn.Module, quantized: nn.Module) -> nn.Module:
    """The float model whose layers correspond to a quantized one's.

    `model` has the weights from which `quantized` was built: float, or with fake quantization,
    which is switched off. It is fused where the quantized model has no BatchNorm or ReLU left. For
    an exported graph only BatchNorm is folded: ReLU is a separate operator.
    """
    model.apply(ao.disable_fake_quant)
    model.apply(ao.disable_observer)
    if exported_graph(quantized):
        return fold_batch_norm(model.eval())
    left = {name for name, module in quantized.named_modules() if type(module) is not nn.Identity}
    fusable = (nn.BatchNorm2d, nn.ReLU)
    if any(name not in left and isinstance(m, fusable) for name, m in model.named_modules()):
        fuse(model)
    return model.eval()


@torch.no_grad()
def layer_numerics(
    run: Run,
    model: nn.Module,
    source: nn.Module,
    inputs: Inputs,
) -> tuple[Layer, ...]:
    """Describe every layer of a model, in execution order.

    Args:
        run: runs `model`.
        source: the model it was quantized from; it is modified.
    """
    if is_run_as_file(model):
        return file_layers(model, inputs, float_values(source, inputs, blocks=False))
    if graph := exported_graph(model):
        return graph_layers(graph, float_values(source, inputs), inputs)
    twin = float_twin(source, model)
    of_twin = partial(call, twin)
    modules = dict(model.named_modules())
    names = {name for name, module in modules.items() if name and _is_layer(module)}
    wanted = layer_outputs(of_twin, twin, inputs, names=names)
    layers: list[Layer] = []

    def describe(name: str, output: torch.Tensor) -> None:
        layers.append(_layer(name, modules, output, wanted.get(name)))

    with _recorded(model, names, describe):
        run(inputs)
    return tuple(layers)


def is_run_as_file(model: nn.Module) -> bool:
    """Whether a model is saved as a whole and has no modules: ONNX or TorchScript."""
    return isinstance(model, OnnxModel) or is_script(model)


def file_layers(
    model: nn.Module, inputs: Inputs, floats: Mapping[str, torch.Tensor]
) -> tuple[Layer, ...]:
    """Describe the layers of an ONNX or TorchScript model.

    Args:
        floats: `float_values` of the float model, without blocks.
    """
    if isinstance(model, OnnxModel):
        return model.describe(inputs, floats)
    return script_layers(model, inputs, floats)


@torch.no_grad()
def float_values(
    source: nn.Module, inputs: Inputs, *, blocks: bool = True
) -> dict[str, torch.Tensor]:
    """Outputs of a float model's layers, by name, for the layers of a graph or a file.

    Args:
        source: modules, of which a copy is run with BatchNorm folded; or a model from a file.
        blocks: include modules that consist of layers; an operator of a file that belongs to such
            a block is one of several, and not its output.
    """
    if isinstance(source, OnnxModel):
        return source.float_values(inputs)
    if is_script(source):
        return {layer.name: value for layer, value in script_values(source, inputs)}
    if graph := exported_graph(source):
        return graph_values(graph, inputs)
    twin = copy.deepcopy(source)
    twin.apply(ao.disable_fake_quant)
    twin.apply(ao.disable_observer)
    twin = fold_batch_norm(twin.eval())
    names = {name for name, _ in twin.named_modules() if name} if blocks else None
    found = layer_outputs(partial(call, twin), twin, inputs, names=names)
    # of a model between stubs; a file has the names of the model that its author exported
    inside = {n.removeprefix(_STUBBED): x for n, x in found.items() if n.startswith(_STUBBED)}
    return {**inside, **found}


@torch.no_grad()
def layer_outputs(
    run: Run,
    model: nn.Module,
    inputs: Inputs,
    *,
    names: set[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Outputs of all layers of a model, or of the named ones, in execution order."""
    if names is None:
        names = {name for name, module in model.named_modules() if name and _is_layer(module)}
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        outputs[name] = output.clone()  # a later layer may work in place

    with _recorded(model, names, keep):
        run(inputs)
    return outputs


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, _SILENT) or not can_be_watched(module):
        return False
    own = next(module.parameters(recurse=False), None) is not None  # as attention has
    packed = is_packed_recurrent(module) or hasattr(module, "_packed_params")
    return own or packed or not list(module.children())


@contextmanager
def _recorded(model: nn.Module, names: set[str], see: See) -> Iterator[None]:
    """Call `see` with each output; repeated runs of a module are ``name#2``, ``name#3``, ..."""
    handles = []
    for name, module in model.named_modules():
        parent, _, leaf = name.rpartition(".")
        if leaf == _RESULT and isinstance(
            model.get_submodule(parent), (FloatFunctional, QFunctional)
        ):
            handles.append(module.register_forward_hook(_numbered(parent, see)))
        elif name in names:
            handles.append(module.register_forward_hook(_numbered(name, see)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _numbered(name: str, see: See) -> Callable[[nn.Module, Any, Any], None]:
    runs = 0

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal runs
        if isinstance(output, tuple) and output:
            output = output[0]  # of a recurrent layer or attention; the rest is its state
        if isinstance(output, torch.Tensor):
            runs += 1
            see(name if runs == 1 else f"{name}#{runs}", output.detach())

    return hook


def _layer(
    name: str, modules: dict[str, nn.Module], output: torch.Tensor, twin: torch.Tensor | None
) -> Layer:
    module = modules[name.partition("#")[0]]
    weight = weights(module)
    return Layer(
        name=name,
        kind=_kind(module),
        weight=joint_quantizer(weight),
        weight_digest=joint_digest(weight),
        bias_digest=joint_digest(biases(module)),
        output=quantizer(output),
        output_digest=digest(output),
        sqnr_db=sqnr(output, twin),
    )


def _kind(module: nn.Module) -> str:
    """``quantized.Conv2d``, ``intrinsic.quantized.ConvReLU2d``, ``Conv2d``, ``mine.nets.Block``."""
    path = type(module).__module__
    if path.startswith("torch."):
        path = path.removeprefix("torch.").removeprefix("ao.").removeprefix("nn.")
        path = path.partition("modules")[0].strip(".")
    return ".".join(part for part in (path, type(module).__name__) if part)
