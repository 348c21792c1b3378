"""TorchScript files: loading, and what their graphs hold.

A loaded module's submodules cannot be hooked: its graph is inlined, and run with its
intermediate values as further outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.data.inputs import Inputs, arguments
from qreg.errors import ModelFileError
from qreg.metrics.tensors import digest, quantizer, sqnr
from qreg.records.measurement import Role, Size, TensorSize
from qreg.records.numerics import Layer

_MOVING = frozenset(
    (
        *("chunk", "contiguous", "dequantize", "detach", "dropout", "expand", "flatten"),
        *("permute", "reshape", "select", "size", "slice", "split", "squeeze", "to"),
        *("transpose", "unsqueeze", "view", "Int", "ScalarImplicit", "NumToTensor"),
    )
)
_UNPACK = {
    "Conv1dPackedParamsBase": "conv1d_unpack",
    "Conv2dPackedParamsBase": "conv2d_unpack",
    "Conv3dPackedParamsBase": "conv3d_unpack",
    "LinearPackedParamsBase": "linear_unpack",
}


@dataclass(frozen=True, eq=False)
class ScriptLayer:
    """An operator of an inlined graph; `path` is the module whose attributes it takes."""

    name: str
    kind: str
    path: str
    output: Any


def is_script(model: nn.Module) -> bool:
    """Whether a model is TorchScript."""
    return isinstance(model, torch.jit.ScriptModule)


def load_script(path: Path, *, name: str) -> nn.Module:
    """Load a TorchScript file; its own reader unpickles nothing but tensors and its classes.

    Raises:
        ModelFileError: it is none, or damaged.
    """
    try:
        loaded: nn.Module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        first = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
        raise ModelFileError(
            f"{name} cannot be loaded as TorchScript: {first}",
            hint="write it with torch.jit.save; of a state dict give the factory and the method, "
            'and the file as weights = "..."',
        ) from error
    return loaded.eval()


def script_layers(
    model: Any, inputs: Inputs, twin: Mapping[str, torch.Tensor]
) -> tuple[Layer, ...]:
    """Describe the layers of a TorchScript model, run on `inputs`."""
    found = script_values(model, inputs)
    return tuple(_described(model, layer, value, twin) for layer, value in found)


@torch.no_grad()
def script_values(model: Any, inputs: Inputs) -> list[tuple[ScriptLayer, torch.Tensor]]:
    """The layers and their outputs."""
    jit: Any = torch._C
    graph = _graph(model).copy()
    jit._jit_pass_inline(graph)
    layers = list(_layers(graph))
    for layer in layers:
        graph.registerOutput(layer.output)
    graph.makeMultiOutputIntoTuple()
    run = jit._create_function_from_graph("observed", graph)
    args, named = arguments(inputs)
    values = run(model, *args, *named.values())[-len(layers) :] if layers else ()
    pairs = zip(layers, values, strict=True)
    return [(layer, value) for layer, value in pairs if isinstance(value, torch.Tensor)]


def _graph(model: Any) -> Any:
    return model.forward.graph if hasattr(model.forward, "graph") else model.graph


def _layers(graph: Any) -> Iterator[ScriptLayer]:
    runs: Counter[str] = Counter()
    for node in graph.nodes():
        space, _, kind = str(node.kind()).partition("::")
        output = next(iter(node.outputs()), None)
        if space not in ("aten", "quantized") or kind in _MOVING or output is None:
            continue
        if output.type().kind() != "TensorType":
            continue
        path = next(filter(None, map(_owner, node.inputs())), "")
        name = path or kind
        runs[name] += 1
        numbered = name if runs[name] == 1 else f"{name}#{runs[name]}"
        yield ScriptLayer(numbered, f"{space}.{kind}", path, output)


def _owner(value: Any) -> str:
    """The path of the module that a value is an attribute of."""
    node = value.node()
    if node.kind() != "prim::GetAttr":
        return ""
    names = []
    while node.kind() == "prim::GetAttr":
        names.append(node.s("name"))
        node = next(iter(node.inputs())).node()
    path = ".".join(reversed(names[1:]))
    return path.removesuffix("._packed_params")


def _described(
    model: Any, layer: ScriptLayer, value: torch.Tensor, twin: Mapping[str, torch.Tensor]
) -> Layer:
    weight, bias = _parameters(model, layer.path)
    wanted = twin.get(layer.path, twin.get(f"model.{layer.path}"))
    if wanted is not None and "relu" in layer.kind:
        wanted = wanted.relu()  # fused: of the float model it is a module of its own
    return Layer(
        name=layer.name,
        kind=layer.kind,
        weight=quantizer(weight),
        weight_digest=digest(weight),
        bias_digest=digest(bias),
        output=quantizer(value),
        output_digest=digest(value),
        sqnr_db=sqnr(value, wanted),
    )


def _parameters(model: Any, path: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    modules = dict(model.named_modules())
    if path not in modules or not path:
        return None, None
    module = modules[path]
    packed = _packed(module) or _packed(modules.get(f"{path}._packed_params"))
    if packed is not None:
        return packed
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    weight = own.get("weight")
    return (
        weight.detach() if weight is not None and weight.ndim > 1 else None,
        own["bias"].detach() if "bias" in own else None,
    )


def _packed(module: Any) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    held = getattr(module, "_packed_params", None)
    if not isinstance(held, torch.ScriptObject):
        return None
    kind = str(held._type()).rpartition(".")[2]
    if kind not in _UNPACK:
        return None
    weight, bias = getattr(torch.ops.quantized, _UNPACK[kind])(held)
    # a model that was traced with gradients packs a bias that requires them
    return weight.detach(), None if bias is None else bias.detach()


def script_size(model: Any, file_bytes: int) -> Size:
    """Bytes of the file and of the tensors in it."""
    tensors = tuple(_tensors(model))
    weights = [one for one in tensors if one.role is Role.WEIGHT]
    return Size(
        file_bytes=file_bytes,
        weight_bytes=sum(one.bytes for one in weights),
        tensors=tensors,
        float_layers=tuple(dict.fromkeys(one.layer for one in weights if one.is_float_weight)),
    )


def _tensors(model: Any) -> Iterator[TensorSize]:
    for name, value in model.state_dict().items():
        layer, _, leaf = name.rpartition(".")
        role = {"weight": Role.WEIGHT, "bias": Role.BIAS}.get(leaf, Role.OTHER)
        yield _one(layer, Role.OTHER if value.ndim < 2 and leaf == "weight" else role, value)
    for path, module in model.named_modules():
        packed = _packed(module)
        if packed:
            layer = path.removesuffix("._packed_params")
            yield _one(layer, Role.WEIGHT, packed[0])
            if packed[1] is not None:
                yield _one(layer, Role.BIAS, packed[1])


def _one(layer: str, role: Role, value: torch.Tensor) -> TensorSize:
    dtype = str(value.dtype).removeprefix("torch.")
    return TensorSize(layer, role, dtype, value.numel(), value.numel() * value.element_size())
