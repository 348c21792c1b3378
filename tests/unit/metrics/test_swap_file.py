"""One layer of an ONNX file, restored or in float: what that changes in its outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qreg.metrics.layers import layer_numerics
from qreg.metrics.tensors import sqnr
from qreg.records.numerics import Layer
from tests.unit.artifacts import files
from tests.unit.artifacts.files import IMAGES, net

files.need_onnxruntime()

from qreg.artifacts.onnx_file import OnnxModel, load_onnx  # noqa: E402
from qreg.metrics.swap_file import (  # noqa: E402
    file_in_float,
    restored_file,
    weights_by_layer,
)

LAYERS = ("input", "features.0", "features.4", "head")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.quantized(tmp_path_factory.mktemp("swap") / "net_int8.onnx")


def _load(path: Path) -> OnnxModel:
    return load_onnx(path, name=path.name)


def _db(model: OnnxModel) -> float:
    found = sqnr(model(IMAGES), net()(IMAGES).detach())
    assert found is not None
    return found


def _layers(model: OnnxModel) -> dict[str, Layer]:
    return {one.name: one for one in layer_numerics(model, model, net(), IMAGES)}


def test_all_layers_in_float_are_the_float_model(int8: Path) -> None:
    model, weights = _load(int8), weights_by_layer(net())
    before = _db(model)
    assert before < 60
    names = [name for name in _layers(model) if name not in LAYERS]  # functional: no weights
    for name in (*LAYERS, *names):
        made = file_in_float(model, name, weights)
        assert made is not None, name
        model = made
    # still quantized: biases, as int32 of fine scales, and what flatten passes on, no layer
    found = _layers(model)
    for name in ("features.2", "features.3", "features.4"):
        assert (found[name].sqnr_db or 0) > 90, name
    assert _db(model) > before + 8
    assert {one.quantizer for one in model.graph.layers} == {None}


def test_weights_of_a_float_file_will_do(int8: Path, tmp_path: Path) -> None:
    of_file = weights_by_layer(_load(files.export_onnx(tmp_path / "net.onnx")))
    of_model = weights_by_layer(net())
    for name in ("features.0", "features.4", "head"):
        assert torch.allclose(torch.tensor(of_file[name]), torch.tensor(of_model[name])), name
    made = file_in_float(_load(int8), "features.4", of_file)
    assert made is not None
    assert _db(made) == pytest.approx(_db(_required(int8)), abs=0.01)


def _required(int8: Path) -> OnnxModel:
    made = file_in_float(_load(int8), "features.4", weights_by_layer(net()))
    assert made is not None
    return made


@pytest.mark.parametrize("qdq", [True, False], ids=["QDQ", "QOperator"])
def test_a_layer_with_other_scales_is_restored_to_the_bit(qdq: bool, tmp_path: Path) -> None:
    path = files.quantized(tmp_path / "net.onnx", qdq=qdq)
    wanted = _load(path)
    layer = _layers(wanted)["features.4"]

    codes = _weight(wanted)

    def coarser(model: Any) -> None:
        files.set_tensor(model, f"{codes.removesuffix('_quantized')}_scale", lambda x: x * 2)
        files.set_tensor(model, codes, lambda x: x // 2)

    files.changed(path, coarser)
    changed = _load(path)
    assert not torch.equal(changed(IMAGES), wanted(IMAGES))
    made = restored_file(changed, layer, weights_by_layer(net()))
    assert made is not None
    assert torch.equal(made(IMAGES), wanted(IMAGES))
    assert _layers(made)["features.4"] == layer
    # without the float weight only scales could be restored, of codes that are other ones
    assert restored_file(changed, layer, {}) is None


def _weight(model: OnnxModel) -> str:
    return next(one.weight for one in model.graph.layers if one.name == "features.4")


def test_what_cannot_be_restored_alone(int8: Path, tmp_path: Path) -> None:
    weights, model = weights_by_layer(net()), _load(int8)
    layer = _layers(model)["features.4"]
    assert restored_file(model, layer, weights) is None  # nothing of it differs
    assert restored_file(model, replace(layer, name="none"), weights) is None
    assert file_in_float(model, "none", weights) is None
    operators = _load(files.quantized(tmp_path / "net.onnx", qdq=False))
    assert file_in_float(operators, "features.4", weights) is None
