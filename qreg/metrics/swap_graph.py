"""Restoring a single layer of an exported graph to a baseline's parameters.

In such a graph (PT2E) scales and zero points are arguments of operators, and weights are stored as
codes; for the time of restoring, the arguments are the baseline's, and the weight has the values
that the baseline's scales give it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn

from qreg.metrics.graph_layers import GraphLayer, layers_in
from qreg.metrics.graphs import is_dequantize, is_quantize
from qreg.records.numerics import Layer, Quantizer

_WEIGHT = "_restored_weight"


@contextmanager
def restored_in_graph(graph: fx.GraphModule, twin: nn.Module, layer: Layer) -> Iterator[bool]:
    """Restore one layer of an exported graph; yields whether anything of it can be restored.

    Args:
        twin: the float model, whose modules have the layer's weight.
    """
    found = next((one for one in layers_in(graph) if one.name == layer.name), None)
    before = {node: node.args for node in graph.graph.nodes}
    try:
        changed = found is not None and (
            _restore_output(graph, found, layer.output) | _restore_weight(graph, found, twin, layer)
        )
        if changed:
            graph.recompile()
        yield bool(changed)
    finally:
        for node, args in before.items():
            node.args = args
        for node in list(graph.graph.nodes):
            if node not in before:
                graph.graph.erase_node(node)
        if hasattr(graph, _WEIGHT):
            delattr(graph, _WEIGHT)
        graph.recompile()


def _restore_output(graph: fx.GraphModule, layer: GraphLayer, wanted: Quantizer | None) -> bool:
    """Give the operators that quantize a layer's output the baseline's scale and zero point."""
    shown = layer.shown()
    if wanted is None or not is_dequantize(shown) or len(wanted.scales) != 1:
        return False
    codes = shown.args[0]
    if not isinstance(codes, fx.Node) or not is_quantize(codes):
        return False
    if any(isinstance(given, fx.Node) for given in codes.args[1:]):
        return False  # scales that are computed at run time
    for node in (codes, *(user for user in codes.users if is_dequantize(user))):
        node.args = (node.args[0], wanted.scales[0], wanted.zero_points[0], *node.args[3:])
    return True


def _restore_weight(
    graph: fx.GraphModule, graph_layer: GraphLayer, twin: nn.Module, layer: Layer
) -> bool:
    if layer.weight is None:
        return False
    name = layer.name.partition("#")[0]
    weight = getattr(dict(twin.named_modules()).get(name), "weight", None)
    node = next((one for one in graph_layer.nodes if _has_codes(one)), None)
    if node is None or not isinstance(weight, torch.Tensor):
        return False
    given: Any = node.args[1]
    stored = attrgetter(str(given.args[0].target))(graph)
    if stored.shape != weight.shape:
        return False
    graph.register_buffer(_WEIGHT, rounded(weight.detach(), layer.weight), persistent=False)
    with graph.graph.inserting_before(node):
        value = graph.graph.get_attr(_WEIGHT)
    node.args = (node.args[0], value, *node.args[2:])
    return True


def _has_codes(node: fx.Node) -> bool:
    """Whether an operator's second argument is a dequantized stored tensor."""
    given = node.args[1] if len(node.args) > 1 else None
    if not isinstance(given, fx.Node) or not is_dequantize(given):
        return False
    codes = given.args[0]
    return isinstance(codes, fx.Node) and codes.op == "get_attr"


def rounded(weight: torch.Tensor, quantizer: Quantizer) -> torch.Tensor:
    """The values that a weight has with these scales, one for all or one for each channel.

    By explicit arithmetic: torch's own quantization may be what changed.
    """
    shape = (-1, *[1] * (weight.ndim - 1))
    scales = torch.tensor(quantizer.scales, dtype=torch.float32).view(shape)
    zeros = torch.tensor(quantizer.zero_points, dtype=torch.float32).view(shape)
    codes = torch.clamp(torch.round(weight / scales) + zeros, -128, 127)
    return (codes - zeros) * scales
