"""ONNX files: what is read from them, how they run, and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qreg.errors import ModelFileError
from qreg.metrics.layers import layer_numerics
from qreg.records.measurement import Role
from qreg.records.numerics import Layer
from tests.unit.artifacts import files
from tests.unit.artifacts.files import IMAGES, net

files.need_onnxruntime()

from qreg.artifacts.onnx_file import OnnxModel, graph_level, load_onnx  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.export_onnx(tmp_path_factory.mktemp("onnx") / "net.onnx")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.quantized(tmp_path_factory.mktemp("onnx") / "net_int8.onnx")


def _load(path: Path) -> OnnxModel:
    return load_onnx(path, name=path.name)


def _layers(model: OnnxModel, source: nn.Module | None = None) -> dict[str, Layer]:
    return {one.name: one for one in layer_numerics(model, model, source or net(), IMAGES)}


def test_the_export_is_the_float_model_but_for_rounding(exported: Path) -> None:
    model = _load(exported)
    assert torch.allclose(model(IMAGES), net()(IMAGES), atol=1e-5)
    layers = _layers(model)
    for name in ("features.0", "features.2", "features.4", "head"):
        assert layers[name].sqnr_db is not None, name
        assert layers[name].sqnr_db > 100, name
    assert not model.graph.is_quantized()
    assert set(model.size().float_layers) == {"features.0", "features.4", "head"}


@pytest.mark.parametrize("qdq", [True, False], ids=["QDQ", "QOperator"])
def test_codes_scales_and_zero_points_are_read(qdq: bool, tmp_path: Path) -> None:
    model = _load(files.quantized(tmp_path / "net.onnx", qdq=qdq))
    layers = _layers(model)
    conv = layers["features.4"]
    assert conv.kind == ("qdq.Conv" if qdq else "QLinearConv")
    assert conv.weight is not None
    assert (conv.weight.dtype, len(conv.weight.scales)) == ("int8", 8)
    assert conv.output is not None
    assert conv.output.dtype == "uint8"
    for name in ("input", "features.0", "features.4", "head"):
        assert layers[name].sqnr_db is not None, name
        assert 25 < layers[name].sqnr_db < 60, name
    size = model.size()
    assert size.float_layers == ()
    assert size.weight_bytes == 3 * 8 * 9 + 8 * 8 * 9 + 128 * 10
    assert {t.dtype for t in size.tensors if t.role is Role.WEIGHT} == {"int8"}
    names = {one.name for one in model.operators()}
    assert {"microsoft::QLinearConv", "microsoft::QGemm"} <= names
    assert model.graph.is_quantized()


def test_it_is_compared_with_a_float_file_tensor_by_tensor(exported: Path, int8: Path) -> None:
    by_file, by_model = (_layers(_load(int8), one) for one in (_load(exported), net()))
    for name in ("input", "features.0", "features.4", "head"):
        assert by_file[name].sqnr_db == pytest.approx(by_model[name].sqnr_db, abs=0.01), name


def test_dynamic_quantization_is_read(tmp_path: Path) -> None:
    from qreg.quantization.onnxruntime_methods import export_onnx, quantize_bytes_dynamic

    path = tmp_path / "net.onnx"
    path.write_bytes(quantize_bytes_dynamic(export_onnx(net(), IMAGES[:2])))
    model = _load(path)
    layers = _layers(model)
    head = layers["head"]
    assert head.kind == "MatMulInteger"
    assert head.weight is not None
    assert len(head.weight.scales) == 10
    assert head.sqnr_db is not None
    assert head.sqnr_db > 20
    assert model.size().float_layers == ()


def test_a_stored_weight_that_is_quantized_at_each_run_is_float(tmp_path: Path) -> None:
    """As `quantize_dynamic` leaves weights that are values of Constant nodes (PaddlePaddle's)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("DynamicQuantizeLinear", ["w"], ["wq", "ws", "wz"]),
        helper.make_node("MatMulInteger", ["xq", "wq", "xz", "wz"], ["sum"], name="fc"),
        helper.make_node("Cast", ["sum"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["xs", "ws"], ["scale"]),
        helper.make_node("Mul", ["cast", "scale"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", k])
        for n, k in (("x", 4), ("y", 2))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "net.onnx")
    model = _load(tmp_path / "net.onnx")
    assert model.size().float_layers == ("fc",)
    (layer,) = model.graph.layers
    assert (layer.name, layer.output, layer.weight_quantizer) == ("fc", "y", None)


def _four_bits(path: Path, *, blocks: bool) -> OnnxModel:
    """A layer of 64 x 32 weights of four bits, in blocks of 32: MatMulNBits, or QDQ."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    scales = np.linspace(0.1, 0.2, 64, dtype=np.float32)
    if blocks:
        packed = np.arange(32 * 2 * 16, dtype=np.uint32).astype(np.uint8).reshape(32, 2, 16)
        sizes = {"K": 64, "N": 32, "bits": 4, "block_size": 32}
        given, domain = ["x", "fc.weight", "scale"], "com.microsoft"
        nodes = [helper.make_node("MatMulNBits", given, ["y"], domain=domain, **sizes)]
        stored = [numpy_helper.from_array(packed, "fc.weight")]
        stored.append(numpy_helper.from_array(scales, "scale"))
    else:
        codes = np.arange(64 * 32) % 16 - 8
        made = ["fc.weight", "scale"]
        nodes = [
            helper.make_node("DequantizeLinear", made, ["w"], axis=0, block_size=32),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ]
        stored = [helper.make_tensor("fc.weight", TensorProto.INT4, (64, 32), codes)]
        stored.append(numpy_helper.from_array(scales.reshape(2, 32), "scale"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])],
        stored,
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), str(path))
    return _load(path)


@pytest.mark.parametrize("blocks", [True, False], ids=["MatMulNBits", "QDQ"])
def test_four_bits_are_counted_as_stored(blocks: bool, tmp_path: Path) -> None:
    model = _four_bits(tmp_path / "net.onnx", blocks=blocks)
    (layer,) = model.graph.layers
    quantizer = layer.weight_quantizer
    assert quantizer is not None
    assert quantizer.dtype == ("uint4" if blocks else "int4")
    assert quantizer.qscheme == "per_block_affine"
    assert len(quantizer.scales) == 64
    assert set(quantizer.zero_points) == {8 if blocks else 0}
    (stored,) = (t for t in model.size().tensors if t.role is Role.WEIGHT)
    assert (stored.dtype, stored.elements, stored.bytes) == (quantizer.dtype, 2048, 1024)
    assert model.size().float_layers == ()
    values = model.describe(torch.rand(3, 64), {})
    assert values[0].weight == quantizer
    assert values[0].name == "fc"


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_size_is_run_in_batches_of_it(batch: int, tmp_path: Path) -> None:
    path = files.export_onnx(tmp_path / "net.onnx")

    def fix(model: Any) -> None:
        for one in (*model.graph.input, *model.graph.output):
            one.type.tensor_type.shape.dim[0].dim_value = batch

    model = _load(files.changed(path, fix))
    assert model.fixed_batch == batch
    assert torch.allclose(model(IMAGES), net()(IMAGES), atol=1e-5)


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, images: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.net(images)
        return {"logits": logits * scale, "scale": scale}


def test_inputs_by_name_and_outputs_as_the_float_model_gives_them(tmp_path: Path) -> None:
    from qreg.quantization.onnxruntime_methods import export_onnx

    given = {"images": IMAGES, "scale": torch.full((4, 1), 2.0)}
    two = {name: each[:2] for name, each in given.items()}
    path = tmp_path / "net.onnx"
    path.write_bytes(export_onnx(_Two().eval(), two))
    model = _load(path).like(_Two()(**two))
    wanted, found = _Two()(**given), model(**given)
    assert found.keys() == wanted.keys()
    assert torch.allclose(found["logits"], wanted["logits"], atol=1e-5)
    with pytest.raises(ModelFileError, match=r"takes images .*, scale \(N, 1\); it is given a"):
        model(a=IMAGES, b=IMAGES)
    with pytest.raises(ModelFileError, match="it is given 1 tensor"):
        model(IMAGES)


def _custom(model: Any) -> None:
    from onnx import helper

    node = next(one for one in model.graph.node if one.op_type == "Relu")
    node.domain, node.op_type = "com.acme", "Foo"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))


def _newer(model: Any) -> None:
    model.opset_import[0].version = 999


def _without_graph(model: Any) -> None:
    del model.graph.node[:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_custom, "operator com.acme:Foo is not in it"),
        (_newer, "opset"),
        (_without_graph, "has no graph"),
    ],
)
def test_what_onnxruntime_cannot_load_is_one_line(
    change: Callable[[Any], None], said: str, tmp_path: Path
) -> None:
    path = files.changed(files.export_onnx(tmp_path / "net.onnx"), change)
    with pytest.raises(ModelFileError, match=f"(?i){said}") as raised:
        _load(path)
    assert "\n" not in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize("content", [b"", b"no model" * 100, None], ids=["empty", "text", "cut"])
def test_what_is_no_onnx_file_is_one_line(
    content: bytes | None, exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(exported.read_bytes()[:2000] if content is None else content)
    with pytest.raises(ModelFileError, match="cut off") as raised:
        _load(path)
    assert "\n" not in str(raised.value)


def test_a_batch_that_the_graph_cannot_take_is_one_line(tmp_path: Path) -> None:
    from onnx import numpy_helper

    def constant_shape(model: Any) -> None:
        node = next(one for one in model.graph.node if one.op_type == "Flatten")
        node.op_type = "Reshape"
        node.ClearField("attribute")
        node.input.append("shape")
        shape = numpy_helper.from_array(np.array([2, 128]), "shape")
        model.graph.initializer.append(shape)

    model = _load(files.changed(files.export_onnx(tmp_path / "net.onnx"), constant_shape))
    with pytest.raises(ModelFileError, match="fails on inputs input") as raised:
        model(IMAGES)
    assert "\n" not in str(raised.value)
    assert "dynamic batch dimension" in raised.value.hint


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model with its weights in ``net.data``."""
    import onnx

    model = onnx.load(str(files.export_onnx(tmp_path / "net.onnx")))
    (tmp_path / "net.onnx").unlink()
    onnx.save(
        model,
        str(tmp_path / "net.onnx"),
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
    )
    return tmp_path / "net.onnx"


def test_external_data_belong_to_the_file(external: Path) -> None:
    model = _load(external)
    assert torch.allclose(model(IMAGES), net()(IMAGES), atol=1e-5)
    assert model.file.external == ("net.data",)
    data = external.with_name("net.data")
    assert model.file.total_bytes == external.stat().st_size + data.stat().st_size
    assert _layers(model)["head"].sqnr_db is not None
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))
    other = _load(external)
    assert other.file.sha256 != model.file.sha256
    here, there = (
        {n: (x.weight_digest, x.bias_digest) for n, x in _layers(one).items()}
        for one in (model, other)
    )
    assert here != there


def test_external_data_that_are_missing_cut_off_or_elsewhere(external: Path) -> None:
    import onnx

    data = external.with_name("net.data")
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match=r"has [\d,]+ bytes, and .* ends at"):
        _load(external)
    data.unlink()
    with pytest.raises(ModelFileError, match=r"external data net\.data is missing"):
        _load(external)
    model = onnx.load(str(external), load_external_data=False)
    for location in ("../net.data", "/etc/hostname"):
        for one in model.graph.initializer:
            for entry in one.external_data:
                if entry.key == "location":
                    entry.value = location
        external.write_bytes(model.SerializeToString())
        with pytest.raises(ModelFileError, match="outside of its folder"):
            _load(external)


def test_the_level_of_optimization_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graph_level() == "all"
    monkeypatch.setenv("QREG_ORT_LEVEL", "most")
    with pytest.raises(ModelFileError, match="QREG_ORT_LEVEL=most"):
        graph_level()


def test_without_optimization_nothing_is_fused(int8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QREG_ORT_LEVEL", "disable")
    names = {one.name for one in _load(int8).operators()}
    assert "onnx::Conv" in names
    assert not any("QLinearConv" in name for name in names)
