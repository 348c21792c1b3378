"""What an ONNX graph holds: layers, quantization parameters, stored tensors.

Both forms are read: float operators between QuantizeLinear and DequantizeLinear (QDQ), and
operators on codes (QLinearConv, MatMulInteger, MatMulNBits, ...). Nothing is run.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.records.measurement import Role, Size, TensorSize
from qreg.records.numerics import Quantizer

Array = npt.NDArray[Any]
_SHORT = 16
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_DYNAMIC = "DynamicQuantizeLinear"
# They move values without computing any: no layers.
_MOVING = frozenset(
    (
        *("Cast", "Constant", "ConstantOfShape", "Dropout", "Expand", "Flatten", "Identity"),
        *("Range", "Reshape", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
_CONVERTING = frozenset((_QUANTIZE, _DEQUANTIZE, _DYNAMIC))
#: Operators with weights: at which of their inputs weight and bias are.
_WEIGHTED = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (1, None),
    "Gather": (0, None),
    "GRU": (1, 3),
    "LSTM": (1, 3),
    "RNN": (1, 3),
    "FusedConv": (1, 2),
    "FusedGemm": (1, 2),
    "FusedMatMul": (1, None),
    "ConvInteger": (1, None),
    "MatMulInteger": (1, None),
    "MatMulIntegerToFloat": (1, 6),
    "DynamicQuantizeMatMul": (1, 4),
    "DynamicQuantizeLSTM": (1, 3),
    "MatMulNBits": (1, 5),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3, None),
    "QGemm": (3, 6),
    "QLinearConvTranspose": (3, 8),
}
#: Operators on codes: at which of their inputs the weight's scale and zero point are, and the
#: output's; None where the output is float.
ON_CODES: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {
    "QLinearConv": ((4, 5), (6, 7)),
    "QLinearConvTranspose": ((4, 5), (6, 7)),
    "QLinearMatMul": ((4, 5), (6, 7)),
    "QGemm": ((4, 5), (7, 8)),
    "DynamicQuantizeMatMul": ((2, 3), None),
    "MatMulIntegerToFloat": ((3, 5), None),
    "MatMulNBits": ((2, 3), None),
}
#: Operators on codes without weights: where the output's scale and zero point are.
CODES_OUT = {
    "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7),
    "QLinearAveragePool": (3, 4),
    "QLinearGlobalAveragePool": (3, 4),
    "QLinearLeakyRelu": (3, 4),
    "QLinearSigmoid": (3, 4),
    "QLinearSoftmax": (3, 4),
    "QLinearConcat": (0, 1),
}
_INTEGER = ("ConvInteger", "MatMulInteger")
_BITS = {"int4": 4, "uint4": 4, "float4e2m1": 4, "int2": 2, "uint2": 2}
_WEIGHT_NAME = re.compile(r"(?P<path>.+)\.weight(_Transposed)?(_quantized|_Q4G?\d*|_Q4)?")
_INPUT = "input"


@dataclass(frozen=True, eq=False)
class OnnxLayer:
    """Operators of an ONNX graph that compute one layer.

    Attributes:
        name: the module's path where the file knows it, else the node's or the tensor's name;
            further runs are ``name#2``.
        kind: its operators, such as ``qdq.Conv``.
        output: the tensor that holds its output: codes where `quantizer` is set.
        known_as: names that the same value has in the float model: modules, then tensors.
        weight, bias: names of stored tensors, "" for none.
        quantizer: of the output, None where it is float.
        weight_quantizer: of the weight, None where it is float or there is none.
        node: the operator; None for an input.
    """

    name: str
    kind: str
    output: str
    known_as: tuple[str, ...]
    weight: str = ""
    bias: str = ""
    quantizer: Quantizer | None = None
    weight_quantizer: Quantizer | None = None
    node: Any = None


@dataclass(eq=False)
class OnnxGraph:
    """An ONNX model, its external data loaded."""

    model: Any

    @cached_property
    def stored(self) -> dict[str, Any]:
        """Stored tensors by name: initializers, and the values of Constant nodes."""
        found = {one.name: one for one in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                values = [one.t for one in node.attribute if one.name == "value"]
                found |= dict.fromkeys(node.output[:1], values[0]) if values else {}
        return found

    @cached_property
    def producer(self) -> dict[str, Any]:
        """The node that makes each tensor."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def users(self) -> dict[str, list[Any]]:
        """The nodes that take each tensor."""
        found: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        """The graph's inputs, without stored tensors (which old files list too)."""
        return tuple(one for one in self.model.graph.input if one.name not in self.stored)

    def array(self, name: str) -> Array:
        """A stored tensor's values; codes of four bits or less as bytes of their own."""
        from onnx import numpy_helper

        values: Array = numpy_helper.to_array(self.stored[name])
        return values.astype(np.int8) if dtype_name(self.stored[name]) in _BITS else values

    def digest(self, name: str) -> str:
        """Digest of a stored tensor's values; "" where there is none."""
        if name not in self.stored:
            return ""
        values = np.ascontiguousarray(self.array(name))
        return hashlib.sha256(values.view(np.uint8).data).hexdigest()[:_SHORT]

    def parameters(self, scale: str, zero_point: str, dtype: str) -> Quantizer | None:
        """Quantization parameters in stored tensors; None where they are computed at run time."""
        if scale not in self.stored:
            return None
        scales = self.array(scale).astype(np.float64)
        zeros = np.zeros(scales.size, np.int64)
        if zero_point in self.stored:
            dtype = dtype_name(self.stored[zero_point]) or dtype
            zeros = self.array(zero_point).astype(np.int64).ravel()
            zeros = zeros if zeros.size == scales.size else np.resize(zeros, scales.size)
        scheme = ("per_tensor", "per_channel")[scales.size > 1] if scales.ndim < 2 else "per_block"
        return Quantizer(
            f"{scheme}_affine", dtype, tuple(scales.ravel().tolist()), tuple(zeros.tolist())
        )

    @cached_property
    def layers(self) -> tuple[OnnxLayer, ...]:
        """The inputs that are quantized, and all layers, in the graph's order."""
        return tuple(_numbered((*self._inputs(), *self._nodes())))

    def _inputs(self) -> Iterator[OnnxLayer]:
        for number, one in enumerate(self.inputs, start=1):
            codes, quantizer = self._codes_of(one.name)
            name = _INPUT if number == 1 else f"{_INPUT}#{number}"
            if quantizer:
                yield OnnxLayer(name, _INPUT, codes, (one.name,), quantizer=quantizer)

    def _nodes(self) -> Iterator[OnnxLayer]:
        absorbed = self._scales_of_integers()
        for node in self.model.graph.node:
            kind = node.op_type
            if kind in _MOVING or kind in _CONVERTING or id(node) in absorbed or not node.output:
                continue
            output = node.output[0]
            if kind in _INTEGER:
                output = self._float_output(node, absorbed)
            yield self._layer(node, output)

    def _scales_of_integers(self) -> set[int]:
        """Multiplications of two scales, which feed the scaling of an integer operator."""
        return {
            id(node)
            for node in self.model.graph.node
            if node.op_type == "Mul"
            and any(
                given in self.producer and self.producer[given].op_type == _DYNAMIC
                for given in node.input
            )
        }

    def _float_output(self, node: Any, absorbed: set[int]) -> str:
        """Follow an integer operator to its float output: Cast, Mul by the scales, Add a bias."""
        output = str(node.output[0])
        for wanted in ("Cast", "Mul", "Add"):
            users = self.users.get(output, [])
            if len(users) != 1 or users[0].op_type != wanted:
                break
            if wanted == "Add" and not any(map(self._is_stored, users[0].input)):
                break
            absorbed.add(id(users[0]))
            output = str(users[0].output[0])
        return output

    def _is_stored(self, name: str) -> bool:
        if name in self.stored:
            return True
        node = self.producer.get(name)
        return node is not None and node.op_type == "Reshape" and node.input[0] in self.stored

    def _layer(self, node: Any, output: str) -> OnnxLayer:
        weight, bias, weight_quantizer = self._weight(node)
        codes, quantizer = self._codes_of(output)
        if node.op_type in ON_CODES or node.op_type in CODES_OUT:
            places = CODES_OUT.get(node.op_type) or ON_CODES[node.op_type][1]
            if places:
                quantizer = self.parameters(
                    _input(node, places[0]), _input(node, places[1]), "uint8"
                )
                codes = output
        elif quantizer is None and node.input and not weight:
            quantizer = self._passed_on(node)
        known = (output, output.removesuffix("_quantized"), output.removesuffix(_QDQ_INPUT))
        path = module_path(node)
        own = _path_of_weight(weight) or path
        modules = (tensor_path(output), own)
        return OnnxLayer(
            name=own or (node.name if not node.name.startswith("/") else "").strip() or output,
            kind=self._kind(node, weight),
            output=codes if quantizer else output,
            known_as=tuple(
                dict.fromkeys(one for one in (*modules, path, *known, _again(path)) if one)
            ),
            weight=weight,
            bias=bias,
            quantizer=quantizer,
            weight_quantizer=weight_quantizer,
            node=node,
        )

    def _passed_on(self, node: Any) -> Quantizer | None:
        """The quantization of codes that an operator such as MaxPool passes on as they are."""
        source = self.producer.get(node.input[0])
        while source is not None and source.op_type in ("MaxPool", *_MOVING) and source.input:
            source = self.producer.get(source.input[0])
        if node.op_type != "MaxPool" or source is None:
            return None
        if source.op_type == _QUANTIZE:
            return self.parameters(source.input[1], _input(source, 2), "uint8")
        places = CODES_OUT.get(source.op_type) or ON_CODES.get(source.op_type, (None, None))[1]
        if not places:
            return None
        return self.parameters(_input(source, places[0]), _input(source, places[1]), "uint8")

    def _codes_of(self, output: str) -> tuple[str, Quantizer | None]:
        """The codes that a float tensor is turned into by a quantizing node, if it is."""
        for user in self.users.get(output, []):
            if user.op_type == _QUANTIZE:
                quantizer = self.parameters(user.input[1], _input(user, 2), "uint8")
                return str(user.output[0]), quantizer
        return output, None

    def _weight(self, node: Any) -> tuple[str, str, Quantizer | None]:
        """Names of weight and bias, and how the weight is quantized."""
        if node.op_type not in _WEIGHTED:
            return "", "", None
        at, bias_at = _WEIGHTED[node.op_type]
        name, quantizer = self._stored_at(_input(node, at))
        if not name and node.op_type in ("MatMul", "QLinearMatMul"):
            name, quantizer = self._stored_at(_input(node, 0))
        if name and node.op_type in ON_CODES:
            scale, zero = (_input(node, n) for n in ON_CODES[node.op_type][0])
            bits = _attribute(node, "bits")
            dtype = f"uint{bits}" if bits else dtype_name(self.stored[name])
            quantizer = self.parameters(scale, "" if bits else zero, dtype)
            if bits and quantizer:
                quantizer = self._block_zero_points(node, quantizer, bits, zero)
        if name and node.op_type in _INTEGER:
            quantizer = self._integer_quantizer(node, name)
        bias, _ = self._stored_at(_input(node, bias_at)) if bias_at is not None else ("", None)
        return name, bias, quantizer

    def _block_zero_points(
        self, node: Any, quantizer: Quantizer, bits: int, zero: str
    ) -> Quantizer:
        """Zero points of MatMulNBits: packed like its codes, else the middle of their range."""
        zeros = [2 ** (bits - 1)] * len(quantizer.scales)
        if zero in self.stored and bits == 4:
            packed = self.array(zero).view(np.uint8).reshape(-1)
            both = np.stack((packed & 15, packed >> 4), axis=-1)
            columns = _attribute(node, "N") or 1
            rows = both.reshape(columns, -1)[:, : len(quantizer.scales) // columns]
            zeros = [int(one) for one in rows.ravel()]
        return Quantizer("per_block_affine", f"uint{bits}", quantizer.scales, tuple(zeros))

    def _integer_quantizer(self, node: Any, weight: str) -> Quantizer | None:
        """A ConvInteger's or MatMulInteger's weight scale stands next to the codes by name."""
        stem = weight.removesuffix("_quantized")
        return self.parameters(f"{stem}_scale", _input(node, 3), dtype_name(self.stored[weight]))

    def _stored_at(self, name: str) -> tuple[str, Quantizer | None]:
        """The stored tensor behind an input: itself, or its codes behind a dequantizing node."""
        if name in self.stored:
            return name, None
        node = self.producer.get(name)
        while node is not None and node.op_type in ("Transpose", "Identity", "Cast"):
            name, node = node.input[0], self.producer.get(node.input[0])
            if name in self.stored:
                return name, None
        if node is None or node.op_type != _DEQUANTIZE or node.input[0] not in self.stored:
            return self._quantized_at_run_time(node), None
        codes = str(node.input[0])
        dtype = dtype_name(self.stored[codes])
        return codes, self.parameters(node.input[1], _input(node, 2), dtype)

    def _quantized_at_run_time(self, node: Any) -> str:
        """A float weight that the graph quantizes at each run: stored as float."""
        if node is not None and node.op_type == _DEQUANTIZE:
            node = self.producer.get(node.input[0])
        if node is None or node.op_type not in (_QUANTIZE, _DYNAMIC):
            return ""
        return node.input[0] if node.input[0] in self.stored else ""

    def _kind(self, node: Any, weight: str) -> str:
        """``qdq.Conv`` where data and weight come from dequantizing nodes, ``weight-dq.Conv``."""
        given = [name for name in node.input if name]
        moving = [self.producer[n].op_type for n in given[:2] if n in self.producer]
        dequantized = moving.count(_DEQUANTIZE)
        prefix = ""
        if dequantized:
            prefix = "qdq." if dequantized == min(2, len(given)) else "part-qdq."
        domain = f"{node.domain}." if node.domain else ""
        stored = dtype_name(self.stored[weight]) if weight in self.stored else ""
        suffix = f"[{stored}]" if stored in ("float16", "bfloat16") else ""
        return f"{prefix}{domain}{node.op_type}{suffix}"

    def size(self, file_bytes: int) -> Size:
        """Bytes of all stored tensors; of each weight by its dtype, packed codes as packed."""
        roles: dict[str, tuple[str, Role]] = {}
        for layer in self.layers:
            for name, role in ((layer.weight, Role.WEIGHT), (layer.bias, Role.BIAS)):
                if name and name not in roles:
                    roles[name] = (layer.name.partition("#")[0], role)
        packed = {x.weight: x.weight_quantizer for x in self.layers if x.weight_quantizer}
        tensors = []
        for name, stored in self.stored.items():
            owner, role = roles.get(name, (name, Role.OTHER))
            dtype, elements = dtype_name(stored), math.prod(stored.dims)
            if role is Role.WEIGHT and len(stored.dims) < 2:
                role = Role.OTHER
            size = math.ceil(elements * bits_of(dtype) / 8)
            quantizer = packed.get(name)
            if quantizer and quantizer.dtype != dtype and quantizer.dtype in _BITS:
                dtype, elements = quantizer.dtype, size * 8 // _BITS[quantizer.dtype]
            tensors.append(TensorSize(owner, role, dtype, elements, size))
        found = tuple(tensors)
        weights = [one for one in found if one.role is Role.WEIGHT]
        return Size(
            file_bytes=file_bytes,
            weight_bytes=sum(one.bytes for one in weights),
            tensors=found,
            float_layers=tuple(dict.fromkeys(one.layer for one in weights if one.is_float_weight)),
        )

    def is_quantized(self) -> bool:
        """Whether anything in the graph is quantized."""
        return any(
            node.op_type in _CONVERTING or node.op_type in ON_CODES or node.op_type in _INTEGER
            for node in self.model.graph.node
        )


_QDQ_INPUT = "_QuantizeLinear_Input"


def dtype_name(stored: Any) -> str:
    """``int8`` for a stored tensor's element type."""
    return _dtype_name(stored.data_type)


@cache
def _dtype_name(number: int) -> str:
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def bits_of(dtype: str) -> int:
    """Bits of an element as it is stored."""
    if dtype in _BITS:
        return _BITS[dtype]
    if dtype.startswith("float8"):
        return 8
    found = re.search(r"(\d+)", dtype)
    return int(found[1]) if found else 8


def module_path(node: Any) -> str:
    """The module of the float model that a node belongs to, as PyTorch's exporters note it."""
    for one in node.metadata_props:
        if one.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", one.value)
            return scopes[-2] if len(scopes) > 1 else ""
    return tensor_path(f"{node.name}_output_0") if node.name.startswith("/") else ""


def tensor_path(name: str) -> str:
    """``layer1.0.conv1`` for ``/layer1/layer1.0/conv1/Conv_output_0``; "" for other names."""
    if not name.startswith("/"):
        return ""
    path = ""
    parts = name.strip("/").split("/")[:-1]
    before = ""
    for part in parts:
        if before and part.startswith(f"{before}."):
            path = path[: len(path) - len(before)] + part
        else:
            path = f"{path}.{part}" if path else part
        before = part
    return path


def _again(path: str) -> str:
    """``pool#2`` for ``pool_1``, as PyTorch's older exporter calls the second run of a module."""
    found = re.fullmatch(r"(.+)_(\d+)", path)
    return f"{found[1]}#{int(found[2]) + 1}" if found else ""


def _path_of_weight(weight: str) -> str:
    found = _WEIGHT_NAME.fullmatch(weight)
    return found["path"] if found else ""


def _numbered(layers: tuple[OnnxLayer, ...]) -> Iterator[OnnxLayer]:
    runs: Counter[str] = Counter()
    for layer in layers:
        runs[layer.name] += 1
        again = runs[layer.name]
        yield layer if again == 1 else replace(layer, name=f"{layer.name}#{again}")


def _input(node: Any, place: int | None) -> str:
    return str(node.input[place]) if place is not None and place < len(node.input) else ""


def _attribute(node: Any, name: str) -> int:
    return next((int(one.i) for one in node.attribute if one.name == name), 0)
