"""Layer names in exported graphs, and the plain tensors inside tensor subclasses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

#: A layer's weight and bias, by their position among an operator's arguments.
_ARGUMENTS = ("", "weight", "bias")
# how further runs of a module are numbered, see `qreg.quantization.pt2e.number_repeats`
_REPEATED = re.compile(r"@\d+$")
_DEQUANTIZE, _QUANTIZE = "dequantize_", "quantize_"


def uncompiled(model: nn.Module) -> nn.Module:
    """The model inside a compiled one, or the model itself."""
    inside: nn.Module = getattr(model, "_orig_mod", model)
    return inside


def can_be_watched(module: nn.Module) -> bool:
    """Whether it takes a hook: no module of TorchScript does."""
    return not isinstance(module, torch.jit.ScriptModule)


def exported_graph(model: nn.Module) -> fx.GraphModule | None:
    """The model's graph of operators; None where it consists of modules."""
    inside = uncompiled(model)
    if isinstance(inside, fx.GraphModule) and any(map(_is_aten, inside.graph.nodes)):
        return inside
    return None


def _is_aten(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target.namespace == "aten"


def layer_of(node: fx.Node) -> str:
    """The module of the float model that an operator belongs to; "" for the model itself.

    Parts of a fused module belong to that module.
    """
    path = ""
    for name, kind in (node.meta.get("nn_module_stack") or {}).values():
        path = _REPEATED.sub("", str(name))
        if "intrinsic" in str(kind):
            break
    return path


def operator(node: fx.Node) -> str:
    """``conv2d`` for ``aten::conv2d``; "" for nodes that are not operators."""
    target = node.target
    return (
        target._schema.name.partition("::")[2] if isinstance(target, torch._ops.OpOverload) else ""
    )


def is_dequantize(node: Any) -> bool:
    """Whether a node converts codes to floats."""
    return isinstance(node, fx.Node) and operator(node).startswith(_DEQUANTIZE)


def is_quantize(node: Any) -> bool:
    """Whether a node converts floats to codes."""
    return isinstance(node, fx.Node) and operator(node).startswith(_QUANTIZE)


def stored_names(graph: fx.GraphModule) -> dict[str, tuple[str, str]]:
    """Layer and role of each stored tensor, by the operator that uses it.

    A weight's codes are called ``_frozen_param0`` in the graph, its scales ``_scale_0``.
    """
    names = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr" and node.users:
            names[str(node.target)] = _use(node)
    return names


def _use(node: fx.Node) -> tuple[str, str]:
    user, given = next(iter(node.users)), node
    leaf = str(node.target).rpartition(".")[2]
    if is_dequantize(user):
        parameter = user.args[0] is not node
        given, user = user, next(iter(user.users))
        if parameter:
            return layer_of(user), leaf.strip("_").rstrip("0123456789").rstrip("_")
    position = user.args.index(given) if given in user.args else 0
    role = _ARGUMENTS[position] if 0 < position < len(_ARGUMENTS) else leaf
    return layer_of(user), role


def plain_tensors(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The plain tensors of a stored tensor: itself, or those inside a subclass.

    The codes of a quantized weight keep its name; its scales are ``<name>.scale``.
    """
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield name, tensor
        return
    for part in flatten()[0]:
        yield from plain_tensors(
            name if part == "qdata" else f"{name}.{part}", getattr(tensor, part)
        )
