"""Overflows of onnxruntime's kernels: predicted anywhere, confirmed on a CPU without VNNI."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest

from qreg.artifacts.saturation import pair_sums
from qreg.measure.environment import capture_environment
from qreg.measure.options import Options
from qreg.measure.saturation import audit_case
from qreg.records.case import Case
from tests.unit.artifacts import files

files.need_onnxruntime()

HERE = capture_environment()
_NO_PAIRS = HERE.vnni or platform.machine() not in ("x86_64", "AMD64")
NEEDS_PAIRS = pytest.mark.skipif(_NO_PAIRS, reason="this CPU does not add products in pairs")
_ZERO = 128


def _session(node: Any, shape: list[Any], output: Any, stored: dict[str, Any]) -> Any:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@NEEDS_PAIRS
@pytest.mark.parametrize(
    ("channels", "outputs", "size", "padding", "stride", "groups"),
    [
        (3, 8, 3, 1, 1, 1),
        (5, 8, 3, 0, 2, 1),
        (8, 16, 1, 0, 1, 1),
        (32, 16, 3, 1, 1, 1),
        (16, 16, 3, 1, 1, 4),
        (8, 8, 3, 1, 1, 8),
    ],
)
def test_a_convolution_saturates_as_predicted(
    channels: int, outputs: int, size: int, padding: int, stride: int, groups: int
) -> None:
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    x = rng.integers(200, 256, (2, channels, 9, 9)).astype(np.uint8)
    weight = rng.integers(-128, 128, (outputs, channels // groups, size, size)).astype(np.int8)
    names = ["x", "xs", "zero", "w", "ws", "zw", "ys", "zero"]
    node = helper.make_node(
        "QLinearConv",
        names,
        ["y"],
        kernel_shape=[size] * 2,
        pads=[padding] * 4,
        strides=[stride] * 2,
        group=groups,
    )
    predicted = pair_sums(node, x.astype(np.int64), weight.astype(np.int64), zero_point=_ZERO)
    step = np.float32(2.0**15)
    one = np.float32(1)
    stored = {"xs": one, "ws": one, "ys": step, "zero": np.uint8(_ZERO), "zw": np.int8(0)}
    session = _session(node, [None, channels, 9, 9], TensorProto.UINT8, {**stored, "w": weight})
    (found,) = session.run(None, {"x": x})
    if predicted is None:  # depthwise: exact
        import torch

        exact = torch.nn.functional.conv2d(
            torch.tensor(x).double() - _ZERO,
            torch.tensor(weight).double(),
            stride=stride,
            padding=padding,
            groups=groups,
        ).numpy()
        assert groups == channels
    else:
        exact = predicted.accumulators
        assert predicted.overflows.sum() > 0
    expected = np.clip(np.rint(exact / step) + _ZERO, 0, 255)
    assert (found == expected).all()


@NEEDS_PAIRS
def test_a_product_saturates_as_predicted() -> None:
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    x = rng.integers(180, 256, (5, 65)).astype(np.uint8)
    weight = rng.integers(-128, 128, (65, 17)).astype(np.int8)
    node = helper.make_node("MatMulInteger", ["x", "w", "zero", "zw"], ["y"])
    stored = {"w": weight, "zero": np.uint8(_ZERO), "zw": np.int8(0)}
    session = _session(node, [None, 65], TensorProto.INT32, stored)
    (found,) = session.run(None, {"x": x})
    predicted = pair_sums(node, x.astype(np.int64), weight.T.astype(np.int64), zero_point=_ZERO)
    assert predicted is not None
    assert predicted.overflows.sum() > 0
    assert (found == predicted.accumulators).all()


@pytest.mark.slow
def test_only_weights_of_eight_bits_overflow() -> None:
    options = Options(limit=8, calibration=64)

    def overflows(method: str) -> dict[str, int]:
        case = Case("shapes10", "simple_cnn", method, "onnxruntime")
        return {c.layer: c.overflows for c in audit_case(case, options) if not c.halved}

    full, reduced = overflows("ort-static-full-range"), overflows("ort-static")
    assert full.keys() == reduced.keys() == {"conv1", "conv2", "conv3", "fc1", "fc2", "fc3"}
    assert sum(full.values()) > 0
    assert sum(reduced.values()) == 0
