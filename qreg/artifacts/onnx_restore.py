"""Changing one layer of an ONNX graph: to other quantization parameters, or to float.

Both change a graph in place and say whether anything of the layer could be changed. Weights are
given in the float model's layout, (out, in, ...), and stored in the graph's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qreg.artifacts.onnx_graph import CODES_OUT, ON_CODES, Array, OnnxGraph, OnnxLayer, dtype_name
from qreg.records.numerics import Layer, Quantizer

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(1 << 15), (1 << 15) - 1)}
_RELU6 = 6.0
_BEFORE, _CODES, _SCALE, _ZERO = "_qreg_float", "_qreg_codes", "_qreg_scale", "_qreg_zero_point"


def restore_layer(graph: OnnxGraph, wanted: Layer, weight: Array | None) -> bool:
    """Give a layer the quantization parameters of a baseline.

    Args:
        wanted: the layer as the baseline has it.
        weight: of the float model, None where it has none; needed where codes differ.
    """
    found = _find(graph, wanted.name)
    if found is None:
        return False
    changed = _restore_weight(graph, found, wanted, weight)
    return _restore_output(graph, found, wanted.output) or changed


def float_layer(graph: OnnxGraph, name: str, weight: Array | None) -> bool:
    """Let a layer between QuantizeLinear and DequantizeLinear compute in float.

    Its weight becomes the float model's, and its output is no longer quantized; its input is what
    it was.
    """
    found = _find(graph, name)
    if found is None or found.kind.startswith(("QLinear", "QGemm")):
        return False
    changed = False
    if found.weight_quantizer is not None:
        node = next((n for n in graph.users[found.weight] if n.op_type == "DequantizeLinear"), None)
        shaped = _as_stored(weight, graph.array(found.weight).shape)
        if node is None or shaped is None:
            return False
        graph.model.graph.initializer.append(_tensor(shaped[0].astype(np.float32), node.output[0]))
        graph.model.graph.node.remove(node)
        changed = True
    if found.quantizer is not None:
        changed = _remove_output(graph, found) or changed
    return changed


def _find(graph: OnnxGraph, name: str) -> OnnxLayer | None:
    return next((one for one in graph.layers if one.name == name), None)


def _tensor(values: Array, name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, order="C"), name)


def _store(graph: OnnxGraph, name: str, values: Array) -> bool:
    """Replace a stored tensor by these values, as its type; whether that changes anything."""
    if name not in graph.stored:
        return False
    before = graph.array(name)
    after = np.asarray(values).astype(before.dtype)
    after = after.reshape(before.shape) if after.size == before.size else after
    if before.shape == after.shape and (before == after).all():
        return False
    graph.stored[name].CopyFrom(_tensor(after, name))
    return True


def _as_stored(weight: Array | None, shape: tuple[int, ...]) -> tuple[Array, int] | None:
    """The weight in the graph's layout, and the axis of its output channels."""
    if weight is None:
        return None
    if weight.shape == shape:
        return weight, 0
    return (weight.T, weight.ndim - 1) if weight.T.shape == shape and weight.ndim == 2 else None


def _restore_weight(
    graph: OnnxGraph, layer: OnnxLayer, wanted: Layer, weight: Array | None
) -> bool:
    quantizer = wanted.weight
    if not layer.weight or quantizer is None or quantizer.dtype not in _LIMITS:
        return False
    same_codes = graph.digest(layer.weight) == wanted.weight_digest
    codes = None
    if not same_codes:
        shaped = _as_stored(weight, graph.array(layer.weight).shape)
        if shaped is None:
            return False
        codes = _quantized(*shaped, quantizer)
        if dtype_name(graph.stored[layer.weight]) == "float32":  # left float
            return _insert_weight(graph, layer, codes, shaped[1], quantizer)
    scale, zero = _weight_parameters(graph, layer)
    changed = _store(graph, scale, np.array(quantizer.scales))
    if zero in graph.stored:
        zeros = np.resize(np.array(quantizer.zero_points), graph.array(zero).size)
        changed = _store(graph, zero, zeros) or changed
    return (codes is not None and _store(graph, layer.weight, codes)) or changed


def _quantized(weight: Array, axis: int, quantizer: Quantizer) -> Array:
    """Codes by these scales, as onnxruntime computes them in float32."""
    many = len(quantizer.scales) > 1
    shape = [-1 if many and n == axis else 1 for n in range(weight.ndim)]
    scales = np.array(quantizer.scales, np.float32).reshape(shape)
    zeros = np.array(quantizer.zero_points, np.float32).reshape(shape)
    codes = np.clip(np.rint(weight / scales) + zeros, *_LIMITS[quantizer.dtype])
    return np.asarray(codes.astype(quantizer.dtype))


def _insert_weight(
    graph: OnnxGraph, layer: OnnxLayer, codes: Array, axis: int, quantizer: Quantizer
) -> bool:
    """Store a float weight as codes behind DequantizeLinear, as the baseline's graph does."""
    from onnx import helper

    names = [f"{layer.weight}{end}" for end in (_CODES, _SCALE, _ZERO)]
    many = len(quantizer.scales) > 1
    scales, zeros = np.array(quantizer.scales, np.float32), np.array(quantizer.zero_points)
    zeros = zeros.astype(codes.dtype)
    values = (codes, scales if many else scales[0], zeros if many else zeros[0])
    for name, value in zip(names, values, strict=True):
        graph.model.graph.initializer.append(_tensor(np.asarray(value), name))
    output = f"{layer.weight}{_BEFORE}"
    given = {"axis": axis} if many else {}
    nodes = graph.model.graph.node
    node = helper.make_node("DequantizeLinear", names, [output], **given)
    nodes.insert(list(nodes).index(layer.node), node)
    for place, name in enumerate(layer.node.input):
        if name == layer.weight:
            layer.node.input[place] = output
    return True


def _weight_parameters(graph: OnnxGraph, layer: OnnxLayer) -> tuple[str, str]:
    """Names of the stored scale and zero point of a weight's codes."""
    node = next((n for n in graph.users[layer.weight] if n.op_type == "DequantizeLinear"), None)
    places = (1, 2) if node is not None else ON_CODES.get(layer.node.op_type, ((0, 0), None))[0]
    node = node if node is not None else layer.node
    if places == (0, 0):  # ConvInteger, MatMulInteger
        return f"{layer.weight.removesuffix('_quantized')}_scale", _input(node, 3)
    return _input(node, places[0]), _input(node, places[1])


def _restore_output(graph: OnnxGraph, layer: OnnxLayer, wanted: Quantizer | None) -> bool:
    if layer.quantizer == wanted or (wanted is not None and len(wanted.scales) != 1):
        return False
    if wanted is None:
        return _remove_output(graph, layer)
    if layer.quantizer is None:
        return _insert_output(graph, layer, wanted)
    scale, zero = _output_parameters(graph, layer)
    changed = _store(graph, scale, np.array(wanted.scales))
    return _store(graph, zero, np.array(wanted.zero_points)) or changed


def _output_parameters(graph: OnnxGraph, layer: OnnxLayer) -> tuple[str, str]:
    maker = graph.producer[layer.output]
    if maker.op_type == "QuantizeLinear":
        return _input(maker, 1), _input(maker, 2)
    places = CODES_OUT.get(maker.op_type) or ON_CODES.get(maker.op_type, ((0, 0), None))[1]
    return (_input(maker, places[0]), _input(maker, places[1])) if places else ("", "")


def _insert_output(graph: OnnxGraph, layer: OnnxLayer, wanted: Quantizer) -> bool:
    """Quantize and dequantize a float output, as the baseline's graph does."""
    from onnx import helper

    name, node = layer.output, graph.producer.get(layer.output)
    if node is None or wanted.dtype not in _LIMITS:
        return False
    before, codes, scale, zero = (f"{name}{x}" for x in (_BEFORE, _CODES, _SCALE, _ZERO))
    node.output[list(node.output).index(name)] = before
    place = list(graph.model.graph.node).index(node)
    dequantize = helper.make_node("DequantizeLinear", [codes, scale, zero], [name])
    quantize = helper.make_node("QuantizeLinear", [before, scale, zero], [codes])
    for one in (dequantize, quantize):
        graph.model.graph.node.insert(place + 1, one)
    stored = graph.model.graph.initializer
    stored.append(_tensor(np.array(wanted.scales[0], np.float32), scale))
    stored.append(_tensor(np.array(wanted.zero_points[0]).astype(wanted.dtype), zero))
    return True


def _remove_output(graph: OnnxGraph, layer: OnnxLayer) -> bool:
    """Let what follows a layer take its float output."""
    quantize = graph.producer.get(layer.output)
    if quantize is None or quantize.op_type != "QuantizeLinear" or layer.quantizer is None:
        return False
    users = graph.users.get(layer.output, [])
    if not users or any(node.op_type != "DequantizeLinear" for node in users):
        return False
    instead = _clipping(graph, quantize, layer.quantizer)
    for dequantize in users:
        dequantize.op_type = "Identity"
        del dequantize.input[1:]
        del dequantize.attribute[:]
        dequantize.input[0] = instead
    if instead == quantize.input[0]:
        graph.model.graph.node.remove(quantize)
    return True


def _clipping(graph: OnnxGraph, quantize: Any, quantizer: Quantizer) -> str:
    """The float output, clipped as its codes were: onnxruntime leaves ReLU and ReLU6 to these."""
    lowest, highest = _LIMITS[quantizer.dtype]
    scale, zero = quantizer.scales[0], quantizer.zero_points[0]
    if zero != lowest:
        return str(quantize.input[0])
    quantize.op_type = "Relu"
    del quantize.input[1:]
    del quantize.attribute[:]
    if abs((highest - zero) * scale - _RELU6) < scale:
        quantize.op_type = "Clip"
        for name, value in (("min", 0), ("max", _RELU6)):
            stored = f"{quantize.output[0]}_qreg_{name}"
            graph.model.graph.initializer.append(_tensor(np.array(value, np.float32), stored))
            quantize.input.append(stored)
    return str(quantize.output[0])


def _input(node: Any, place: int) -> str:
    return str(node.input[place]) if place < len(node.input) else ""
