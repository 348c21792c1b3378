from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qreg.metrics.layers import float_twin, layer_numerics
from qreg.records.numerics import EQUAL_DB, Layer
from tests.unit.metrics import nets

IMAGES = nets.images()


def _described(model: nn.Module, source: nn.Module | None = None) -> dict[str, Layer]:
    layers = layer_numerics(model, model, source or nets.source(), IMAGES)
    assert len({layer.name for layer in layers}) == len(layers)
    return {layer.name: layer for layer in layers}


def test_layers_are_in_the_order_they_run_and_count_their_runs() -> None:
    static = ["quant", "conv", "again", "again#2", "add", "fc", "dequant"]
    assert list(_described(nets.static())) == static
    float_layers = ["conv", "bn", "relu", "again", "again#2", "add", "fc"]
    assert list(_described(nets.source())) == float_layers
    assert list(_described(nets.dynamic())) == float_layers


def test_kinds_tell_float_dynamic_static_and_fused_apart() -> None:
    kinds = {name: layer.kind for name, layer in _described(nets.static()).items()}
    assert kinds == {
        "quant": "quantized.Quantize",
        "conv": "intrinsic.quantized.ConvReLU2d",
        "again": "quantized.Conv2d",
        "again#2": "quantized.Conv2d",
        "add": "quantized.QFunctional",
        "fc": "quantized.Linear",
        "dequant": "quantized.DeQuantize",
    }
    assert _described(nets.dynamic())["fc"].kind == "quantized.dynamic.Linear"
    assert _described(nets.source())["conv"].kind == "Conv2d"


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_users_layer_is_named_in_full() -> None:
    (layer,) = _described(nn.Sequential(Scaled()), nn.Sequential(Scaled())).values()
    assert layer.kind == f"{__name__}.Scaled"
    assert (layer.weight, layer.weight_digest, layer.bias_digest) == (None, "", "")


def test_a_float_model_equals_its_twin() -> None:
    for layer in _described(nets.source()).values():
        assert layer.sqnr_db == EQUAL_DB
        assert (layer.weight, layer.output) == (None, None)
        assert layer.output_digest
        assert bool(layer.weight_digest) == (layer.name.partition("#")[0] not in ("relu", "add"))


def test_parameters_are_the_modules() -> None:
    model: Any = nets.static()
    found = _described(model)
    for name in ("conv", "again", "again#2", "add", "fc", "quant"):
        module, output = getattr(model, name.partition("#")[0]), found[name].output
        assert output is not None
        assert output.scales == (float(module.scale),)
        assert output.zero_points == (int(module.zero_point),)
        assert (output.qscheme, output.dtype) == ("per_tensor_affine", "quint8")
    for name in ("conv", "again", "fc"):
        stored, weight = getattr(model, name).weight(), found[name].weight
        assert weight is not None
        assert weight.scales == tuple(stored.q_per_channel_scales().tolist())
        assert weight.zero_points == (0,) * len(weight.scales)
        assert (weight.qscheme, weight.dtype) == ("per_channel_affine", "qint8")
    per_tensor = _described(nets.static("per_tensor"))["fc"].weight
    assert per_tensor is not None
    assert (per_tensor.qscheme, len(per_tensor.scales)) == ("per_tensor_affine", 1)
    assert found["dequant"].output is None
    assert _described(nets.dynamic())["fc"].output is None


def test_one_code_more_changes_the_weights_digest() -> None:
    model: Any = nets.static()
    before = _described(model)
    weight, bias = model.fc.weight(), model.fc.bias()
    codes = weight.int_repr()
    codes[3, 100] += 1
    scales, zeros = weight.q_per_channel_scales(), weight.q_per_channel_zero_points()
    model.fc.set_weight_bias(
        torch._make_per_channel_quantized_tensor(codes, scales, zeros, 0), bias
    )
    after = _described(model)
    moved = {n for n in before if before[n].weight_digest != after[n].weight_digest}
    assert moved == {"fc"}
    assert before["fc"].bias_digest == after["fc"].bias_digest
    model.fc.set_weight_bias(weight, bias + 1e-3)
    after = _described(model)
    assert before["fc"].weight_digest == after["fc"].weight_digest
    assert before["fc"].bias_digest != after["fc"].bias_digest


def test_outputs_move_from_the_changed_layer_on() -> None:
    model: Any = nets.static()
    before = _described(model)
    model.add.scale *= 1.25
    after = _described(model)
    moved = [n for n in before if before[n].output_digest != after[n].output_digest]
    assert moved == ["add", "fc", "dequant"]


def _decibels(wanted: Any, seen: Any) -> float:
    wanted, seen = np.asarray(wanted, np.float64), np.asarray(seen, np.float64)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - seen) ** 2).sum()))


def test_sqnr_by_hand() -> None:
    model: Any = nets.static()
    found = _described(model)
    x = IMAGES.numpy()
    scale, zero = float(model.quant.scale), int(model.quant.zero_point)
    codes = np.clip(np.rint(x / np.float32(scale)) + zero, 0, 255)
    assert found["quant"].sqnr_db == pytest.approx(_decibels(x, (codes - zero) * scale), abs=0.01)
    with torch.no_grad():
        logits, quantized = nets.source()(IMAGES), model(IMAGES)
    expected = pytest.approx(_decibels(logits, quantized), abs=1e-3)
    assert found["dequant"].sqnr_db == found["fc"].sqnr_db == expected
    conv: Any = nets.source()
    with torch.no_grad():
        wanted = conv.relu(conv.bn(conv.conv(IMAGES)))
        seen = model.conv(model.quant(IMAGES)).dequantize()
    assert found["conv"].sqnr_db == pytest.approx(_decibels(wanted, seen), abs=1e-3)
    assert all(20 < layer.sqnr_db < 60 for layer in found.values() if layer.sqnr_db is not None)


def _linear(weight: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(16, 2, bias=False))
    for parameter in model.parameters():
        nn.init.constant_(parameter, weight)
    return model


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_are_the_worst(weight: float) -> None:
    assert _described(_linear(weight), _linear(1.0))["0"].sqnr_db == -EQUAL_DB
    assert _described(_linear(1.0), _linear(weight))["0"].sqnr_db == -EQUAL_DB


def test_noise_on_silence_is_the_worst_and_silence_is_equal() -> None:
    assert _described(_linear(1.0), _linear(0.0))["0"].sqnr_db == -EQUAL_DB
    assert _described(_linear(0.0), _linear(0.0))["0"].sqnr_db == EQUAL_DB


def test_layers_without_a_twin_have_no_sqnr() -> None:
    other = nn.Sequential(nn.Linear(16, 3))
    assert _described(nn.Sequential(nn.Linear(16, 2)), other)["0"].sqnr_db is None
    twice = nn.Sequential(nn.ReLU(), nn.ReLU())
    found = _described(twice, nn.Sequential(nn.ReLU()))
    assert (found["0"].sqnr_db, found["1"].sqnr_db) == (EQUAL_DB, None)


def test_what_a_later_layer_does_in_place_is_not_seen() -> None:
    apart, inplace = (
        nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=how)).eval() for how in (False, True)
    )
    assert _described(inplace, inplace) == _described(apart, apart)


def test_no_hook_stays() -> None:
    model, source = nets.static(), nets.source()
    _described(model, source)
    assert not [m for m in (*model.modules(), *source.modules()) if m._forward_hooks]


def test_the_twin_is_fused_as_far_as_the_model_is() -> None:
    twin = float_twin(nets.source(), nets.static())
    assert type(twin.bn) is type(twin.relu) is nn.Identity
    with torch.no_grad():
        assert torch.allclose(twin(IMAGES), nets.source()(IMAGES), atol=1e-5)
    assert type(float_twin(nets.source(), nets.dynamic()).bn) is nn.BatchNorm2d
