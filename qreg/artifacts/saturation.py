"""How often 16-bit pair accumulation overflows in an ONNX model, on a CPU without VNNI.

onnxruntime's kernels of uint8 activations and int8 weights add products in saturating pairs, too
(MLAS, PMADDUBSW). Found by probing onnxruntime 1.32 on a CPU without VNNI, and confirmed there by
tests/unit/artifacts/test_saturation.py: QLinearConv orders a row (KH, KW, C) and fills padding with
the zero point, as fbgemm does; MatMulInteger and QGemm take a row as it is; depthwise convolutions
and ConvInteger are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.onnx_graph import OnnxLayer
from qreg.data.inputs import Inputs
from qreg.quantization.reference import PairSums, conv2d_in_pairs, linear_in_pairs
from qreg.records.measurement import LayerSaturation

Codes = npt.NDArray[np.int64]
_CONVOLUTIONS = ("Conv", "QLinearConv")
_ON_CODES = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger", "ConvInteger")
_PRODUCTS = ("Gemm", "MatMul", "QGemm", "QLinearMatMul", "MatMulInteger")


@dataclass(frozen=True)
class _Site:
    """A layer that computes on codes: where those of its input and their zero point are.

    Attributes:
        weight: int8 codes; of a product (out, in).
    """

    layer: OnnxLayer
    codes: str
    zero_point: str
    weight: Codes


def audit_onnx(model: OnnxModel, batches: Iterable[Inputs]) -> tuple[LayerSaturation, ...]:
    """Count overflows in every layer with int8 weights.

    Returns:
        Two records per layer, in execution order: as it is, and with weights of seven bits, as
        `reduce_range` makes them.
    """
    sites = list(_sites(model))
    totals: dict[tuple[str, bool], LayerSaturation] = {}
    for batch in batches:
        names = [name for site in sites for name in (site.codes, site.zero_point)]
        found = model.tensors(names, batch)
        for site in sites:
            for halved in (False, True):
                one = _count(model, site, found, halved=halved)
                key = (site.layer.name, halved)
                totals[key] = totals[key] + one if key in totals else one
    return tuple(totals.values())


def _sites(model: OnnxModel) -> Iterator[_Site]:
    graph = model.graph
    for layer in graph.layers:
        node = layer.node
        quantizer = layer.weight_quantizer
        if node is None or quantizer is None or quantizer.dtype != "int8":
            continue
        weight = graph.array(layer.weight).astype(np.int64)
        if node.op_type in _PRODUCTS:
            transposed = any(one.name == "transB" and one.i for one in node.attribute)
            weight = weight if transposed else weight.T
        before = graph.producer.get(node.input[0])
        if before is not None and before.op_type == "DequantizeLinear":
            yield _Site(layer, before.input[0], before.input[2], weight)
        elif (
            node.op_type in ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger")
            or node.op_type == "ConvInteger"
        ):
            yield _Site(layer, node.input[0], node.input[2], weight)


def _count(
    model: OnnxModel, site: _Site, outputs: dict[str, Any], *, halved: bool
) -> LayerSaturation:
    codes = outputs[site.codes]
    zero = int(outputs[site.zero_point].reshape(-1)[0])
    shift = 128 if str(codes.dtype).endswith(".int8") else 0  # the kernel flips the sign bit
    values = codes.numpy().astype(np.int64) + shift
    weight = np.rint(site.weight / 2).astype(np.int64) if halved else site.weight
    above = int(np.count_nonzero(values > 127))
    record = LayerSaturation(site.layer.name, halved, codes=values.size, codes_above_127=above)
    sums = pair_sums(site.layer.node, values, weight, zero_point=zero + shift)
    if sums is None:
        return record
    return replace(
        record,
        pairs=sums.accumulators.size * sums.pairs,
        overflows=int(sums.overflows.sum()),
        outputs=sums.accumulators.size,
        outputs_hit=int(np.count_nonzero(sums.overflows)),
    )


def pair_sums(node: Any, codes: Codes, weight: Codes, *, zero_point: int) -> PairSums | None:
    """The sums that a kernel without VNNI accumulates; None where it is exact.

    Args:
        node: of the graph.
        codes: of its input, as uint8 has them.
        weight: int8 codes; of a product (out, in).
    """
    if node.op_type in _PRODUCTS:
        return linear_in_pairs(codes.reshape(-1, codes.shape[-1]), weight, zx=zero_point)
    given = {one.name: one for one in node.attribute}
    groups = int(given["group"].i) if "group" in given else 1
    if node.op_type not in _CONVOLUTIONS or weight.ndim != 4 or groups == codes.shape[1] > 1:
        return None
    pads = list(given["pads"].ints) if "pads" in given else [0, 0, 0, 0]
    return conv2d_in_pairs(
        codes,
        weight,
        zx=zero_point,
        layout="fbgemm",
        stride=_two(given, "strides"),
        padding=(pads[0], pads[1]),
        dilation=_two(given, "dilations"),
        groups=groups,
    )


def _two(given: dict[str, Any], name: str) -> tuple[int, int]:
    values = list(given[name].ints) if name in given else [1, 1]
    return values[0], values[1]
