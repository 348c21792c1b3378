"""The layers of an exported graph: operators that belong to one module of the float model.

A layer's output is the next layer's input: after quantizing and dequantizing, where applicable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from torch import fx

from qreg.data.inputs import Inputs, tensors
from qreg.metrics.graphs import is_dequantize, is_quantize, layer_of, operator
from qreg.metrics.tensors import affine, digest, sqnr
from qreg.records.numerics import Layer, Quantizer

_INPUT = "input"


@dataclass(frozen=True, eq=False)
class GraphLayer:
    """Consecutive operators of one module; a module's second run is ``name#2``."""

    name: str
    nodes: tuple[fx.Node, ...]

    def shown(self) -> fx.Node:
        """The node whose value is the layer's output."""
        codes = next((user for user in self.nodes[-1].users if is_quantize(user)), None)
        floats = (
            next((user for user in codes.users if is_dequantize(user)), None) if codes else None
        )
        return floats or self.nodes[-1]


def layers_in(graph: fx.GraphModule) -> tuple[GraphLayer, ...]:
    """The input and the layers in execution order, without operators of the model itself."""
    runs: Counter[str] = Counter()
    layers = []
    working = [node for node in graph.graph.nodes if _works(node)]
    for name, nodes in groupby(working, key=_layer_name):
        runs[name] += 1
        numbered = name if runs[name] == 1 else f"{name}#{runs[name]}"
        layers.append(GraphLayer(numbered, tuple(nodes)))
    return tuple(layer for layer in layers if layer.name.strip("#0123456789"))


def _works(node: fx.Node) -> bool:
    quantizes = is_quantize(node) or is_dequantize(node)
    return node.op == "placeholder" or (bool(operator(node)) and not quantizes and _is_tensor(node))


def _is_tensor(node: fx.Node) -> bool:
    """Whether a node's value is one tensor: not a size, nor the parts of `chunk`."""
    value = node.meta.get("val")
    return value is None or isinstance(value, torch.Tensor)


def _layer_name(node: fx.Node) -> str:
    return _INPUT if node.op == "placeholder" else layer_of(node)


@torch.no_grad()
def graph_layers(
    graph: fx.GraphModule, twin: Mapping[str, torch.Tensor], inputs: Inputs
) -> tuple[Layer, ...]:
    """Describe the layers of a graph, run on `inputs`.

    Args:
        twin: outputs of the float model's layers by name.
    """
    twin = {**twin, **_input_layers(inputs)}
    layers: list[Layer] = []
    _record(graph, inputs, lambda one, value: layers.append(_layer(graph, one, value, twin)))
    return tuple(layers)


@torch.no_grad()
def graph_outputs(graph: fx.GraphModule, inputs: Inputs, *, name: str) -> torch.Tensor | None:
    """The output of one layer; None where the graph has no such layer."""
    found: list[torch.Tensor] = []

    def keep(layer: GraphLayer, value: torch.Tensor) -> None:
        if layer.name == name:
            found.append(value.clone())  # a later operator may work in place

    _record(graph, inputs, keep)
    return found[0] if found else None


def _record(
    graph: fx.GraphModule, inputs: Inputs, see: Callable[[GraphLayer, torch.Tensor], None]
) -> None:
    shown = {layer.shown(): layer for layer in layers_in(graph)}

    class Recording(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in shown and isinstance(value, torch.Tensor):
                see(shown[n], value)
            return value

    Recording(graph).run(*tensors(inputs))


@torch.no_grad()
def graph_values(graph: fx.GraphModule, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Outputs of a graph's layers by name."""
    shown = {layer.shown(): layer.name for layer in layers_in(graph)}
    found: dict[str, torch.Tensor] = {}

    class Recording(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in shown and isinstance(value, torch.Tensor):
                found[shown[n]] = value.clone()
            return value

    Recording(graph).run(*tensors(inputs))
    return found


@dataclass(frozen=True, eq=False)
class Codes:
    """A quantized tensor and the codes that it may have.

    Attributes:
        values: as floats.
        ends: the lowest and the highest code.
    """

    values: torch.Tensor
    scale: float
    zero_point: int
    ends: tuple[int, int]


@torch.no_grad()
def graph_codes(graph: fx.GraphModule, inputs: Inputs) -> dict[str, Codes]:
    """The layers' outputs that have one scale, by layer, of a run on `inputs`."""
    shown = {layer.shown(): layer.name for layer in layers_in(graph)}
    found: dict[str, Codes] = {}

    class Recording(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in shown and isinstance(value, torch.Tensor):
                quantizer = _parameters(graph, n)
                if quantizer is not None and len(quantizer.scales) == 1:
                    given: Any = n.args
                    low, high = int(given[3]), int(given[4])
                    scale, zero = quantizer.scales[0], quantizer.zero_points[0]
                    found[shown[n]] = Codes(value, scale, zero, (low, high))
            return value

    Recording(graph).run(*tensors(inputs))
    return found


def _input_layers(inputs: Inputs) -> dict[str, torch.Tensor]:
    """The inputs by their layer names: ``input``, ``input#2``, ..."""
    numbered = enumerate(tensors(inputs), start=1)
    return {_INPUT if n == 1 else f"{_INPUT}#{n}": each for n, each in numbered}


def _layer(
    graph: fx.GraphModule, layer: GraphLayer, value: torch.Tensor, twin: Mapping[str, torch.Tensor]
) -> Layer:
    first = layer.nodes[0]
    weight, quantizer = _parameter(graph, first, 1)
    bias, _ = _parameter(graph, first, 2)
    kind = "qdq." if any(map(is_dequantize, first.all_input_nodes)) else ""
    return Layer(
        name=layer.name,
        kind=kind + "+".join(operator(node) or _INPUT for node in layer.nodes),
        weight=quantizer,
        weight_digest=digest(weight),
        bias_digest=digest(bias),
        output=_parameters(graph, layer.shown()),
        output_digest=digest(value),
        sqnr_db=sqnr(value, twin.get(layer.name)),
    )


def _parameter(
    graph: fx.GraphModule, node: fx.Node, position: int
) -> tuple[torch.Tensor | None, Quantizer | None]:
    """A stored tensor at a position of an operator's arguments, and how it is quantized."""
    given = node.args[position] if position < len(node.args) else None
    stored = given.args[0] if isinstance(given, fx.Node) and is_dequantize(given) else given
    if not isinstance(given, fx.Node) or not isinstance(stored, fx.Node):
        return None, None
    if stored.op != "get_attr":
        return None, None
    return _stored(graph, stored).detach(), _parameters(graph, given)


def _parameters(graph: fx.GraphModule, node: fx.Node) -> Quantizer | None:
    """Scale, zero point and dtype of a dequantizing node; None for other nodes."""
    if not is_dequantize(node):
        return None
    dtype = next(arg for arg in node.args if isinstance(arg, torch.dtype))
    return affine(dtype, _stored(graph, node.args[1]), _stored(graph, node.args[2]))


def _stored(graph: fx.GraphModule, argument: Any) -> Any:
    return attrgetter(str(argument.target))(graph) if isinstance(argument, fx.Node) else argument
