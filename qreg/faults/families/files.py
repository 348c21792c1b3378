"""Faults of ONNX models: a changed parameter, a part missing, left float or stored twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.onnx_graph import OnnxGraph, OnnxLayer
from qreg.faults.fault import Fault, Injection, Target, changed_method
from qreg.quantization import Context, Method

Array = npt.NDArray[Any]
#: Methods whose activations have stored scales, between QuantizeLinear and DequantizeLinear.
QDQ = ("ort-static", "ort-static-per-tensor", "ort-static-full-range")
ONNX = (*QDQ, "ort-static-qoperator", "ort-dynamic")
_OPSET = 18


def changed_onnx(change: Callable[[OnnxGraph], None]) -> Injection:
    """Apply `change` to the graph of the quantized model."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            made = method.quantize(model, context)
            assert isinstance(made, OnnxModel)
            return made.changed(change)

        return replace(method, quantize=quantize)

    return changed_method(changed)


def middle(graph: OnnxGraph) -> OnnxLayer:
    """The middle layer with a quantized weight."""
    layers = [layer for layer in graph.layers if layer.weight_quantizer]
    return layers[len(layers) // 2]


def _set(graph: OnnxGraph, name: str, change: Callable[[Array], Array]) -> None:
    from onnx import numpy_helper

    stored = graph.stored[name]
    stored.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(stored).copy()), name))


def _dequantizing(graph: OnnxGraph, codes: str) -> Any:
    """The node that dequantizes these codes."""
    return next(node for node in graph.users[codes] if node.op_type == "DequantizeLinear")


def _weight_scale(graph: OnnxGraph) -> None:
    codes = middle(graph).weight
    _set(graph, f"{codes.removesuffix('_quantized')}_scale", _first_larger)


def _first_larger(scales: Array) -> Array:
    flat = scales.reshape(-1)  # a view of the copy
    flat[0] *= 1.01
    return scales


def _activation_scale(graph: OnnxGraph) -> None:
    codes = middle(graph).output
    larger: Callable[[Array], Array] = lambda scale: (scale * 1.01).astype(scale.dtype)  # noqa: E731
    _set(graph, _dequantizing(graph, codes).input[1], larger)


def _zero_point(graph: OnnxGraph) -> None:
    one_more: Callable[[Array], Array] = lambda zero: zero + np.ones_like(zero)  # noqa: E731
    _set(graph, _dequantizing(graph, graph.layers[0].output).input[2], one_more)


def _code(graph: OnnxGraph) -> None:
    def one_off(codes: Array) -> Array:
        flat = codes.reshape(-1)
        place = int(np.abs(flat.astype(np.int64)).argmax())
        flat[place] -= np.sign(flat[place])  # towards zero: the largest may be at the end
        return codes

    _set(graph, middle(graph).weight, one_off)


def _pair_removed(graph: OnnxGraph) -> None:
    """Let the nodes after the middle layer take its float output."""
    quantize = graph.producer[middle(graph).output]
    dequantize = _dequantizing(graph, quantize.output[0])
    for node in graph.model.graph.node:
        for place, name in enumerate(node.input):
            if name == dequantize.output[0]:
                node.input[place] = quantize.input[0]
    for node in (quantize, dequantize):
        graph.model.graph.node.remove(node)


def _left_float(graph: OnnxGraph) -> None:
    """Store the middle layer's weight as the floats that its codes stand for."""
    from onnx import numpy_helper

    node = _dequantizing(graph, middle(graph).weight)
    floats = _floats(graph, node)
    graph.model.graph.initializer.append(numpy_helper.from_array(floats, node.output[0]))
    graph.model.graph.initializer.remove(graph.stored[node.input[0]])
    graph.model.graph.node.remove(node)


def _floats(graph: OnnxGraph, node: Any) -> Array:
    codes = graph.array(node.input[0]).astype(np.float32)
    scales = graph.array(node.input[1]).astype(np.float32)
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    if scales.ndim:
        scales = scales.reshape([-1 if n == axis else 1 for n in range(codes.ndim)])
    return np.asarray(codes * scales, dtype=np.float32)


def _stored_twice(graph: OnnxGraph) -> None:
    from onnx import numpy_helper

    codes = graph.array(middle(graph).weight).astype(np.float32)
    graph.model.graph.initializer.append(numpy_helper.from_array(codes, "weight_before"))


def _opset(graph: OnnxGraph) -> None:
    for one in graph.model.opset_import:
        if one.domain in ("", "ai.onnx"):
            one.version = _OPSET


def _fault(
    name: str,
    description: str,
    change: Callable[[OnnxGraph], None],
    methods: tuple[str, ...] = ONNX,
) -> Fault:
    return Fault(
        name=f"onnx-{name}",
        family="ONNX file",
        description=description,
        inject=changed_onnx(change),
        size=name,
        methods=methods,
        engines=("onnxruntime",),
        of_onnx_files=True,
    )


FILES = (
    _fault(
        "weight-scale+1%",
        "in the ONNX graph the first weight scale of the middle layer is 1 % larger",
        _weight_scale,
    ),
    _fault(
        "activation-scale+1%",
        "in the ONNX graph the middle layer's output scale is 1 % larger",
        _activation_scale,
        QDQ,
    ),
    _fault(
        "zero-point+1", "in the ONNX graph the input's zero point is one more", _zero_point, QDQ
    ),
    _fault("one-code", "in the ONNX graph one weight code of the middle layer is one off", _code),
    _fault(
        "dq-removed",
        "in the ONNX graph the middle layer's output is no longer quantized",
        _pair_removed,
        QDQ,
    ),
    _fault(
        "left-float",
        "in the ONNX graph the middle layer's weight is stored as float, without DequantizeLinear",
        _left_float,
        QDQ,
    ),
    _fault(
        "float-beside-codes",
        "the ONNX model holds float weights of the middle layer beside the codes",
        _stored_twice,
    ),
    _fault("opset", f"the ONNX model imports opset {_OPSET}", _opset),
)
