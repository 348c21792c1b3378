from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from qreg.metrics.layers import float_twin, layer_numerics
from qreg.metrics.swap import restored
from qreg.records.numerics import Layer
from tests.unit.metrics import nets

IMAGES = nets.images()


def _layers(model: nn.Module) -> dict[str, Layer]:
    return {layer.name: layer for layer in layer_numerics(model, model, nets.source(), IMAGES)}


def _twin(model: nn.Module) -> nn.Module:
    return float_twin(nets.source(), model)


@torch.no_grad()
def _run(model: nn.Module) -> torch.Tensor:
    return model(IMAGES).clone()


def _share(wanted: torch.Tensor, faulty: torch.Tensor, back: torch.Tensor) -> float:
    whole, left = (faulty - wanted).square().sum(), (back - wanted).square().sum()
    return float(1 - left / whole)


def _scale(module: Any) -> None:
    """A coarser output, whether the scale is a tensor or a number."""
    module.scale = module.scale * 3.0


def _shift(module: Any) -> None:
    """So far that values are cut off: codes have room, with a reduced range."""
    module.zero_point = module.zero_point + 150


def _weight(module: Any) -> None:
    """The same codes with scales by half too large."""
    weight = module.weight()
    codes = weight.int_repr()
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales, zeros = weight.q_per_channel_scales() * 1.5, weight.q_per_channel_zero_points()
        other = torch._make_per_channel_quantized_tensor(codes, scales, zeros, 0)
    else:
        other = torch._make_per_tensor_quantized_tensor(codes, weight.q_scale() * 1.5, 0)
    module.set_weight_bias(other, module.bias())


MADE = {"static": nets.static, "tensor": lambda: nets.static("per_tensor"), "dynamic": nets.dynamic}
FAULTS = [
    ("static", "quant", _scale),
    ("static", "quant", _shift),
    ("static", "conv", _scale),
    ("static", "conv", _shift),
    ("static", "conv", _weight),
    ("static", "again", _scale),
    ("static", "again#2", _scale),
    ("static", "add", _scale),
    ("static", "add", _shift),
    ("static", "fc", _scale),
    ("static", "fc", _weight),
    ("tensor", "conv", _weight),
    ("tensor", "fc", _weight),
    ("dynamic", "fc", _weight),
]


@pytest.mark.parametrize(("how", "name", "fault"), FAULTS)
def test_a_faulty_layer_put_back_explains_the_fault(how: str, name: str, fault: Any) -> None:
    model = MADE[how]()
    before, wanted = _layers(model)[name], _run(model)
    fault(model.get_submodule(name.partition("#")[0]))
    faulty, children = _run(model), dict(model.named_modules())
    assert not torch.equal(faulty, wanted)
    with restored(model, _twin(model), before) as possible:
        assert possible
        assert _share(wanted, faulty, _run(model)) > 0.999
    assert torch.equal(_run(model), faulty)
    assert dict(model.named_modules()) == children


@pytest.mark.parametrize("name", ["conv", "add", "fc"])
def test_another_layer_put_back_explains_nothing(name: str) -> None:
    model = nets.static()
    layers, wanted = _layers(model), _run(model)
    _scale(model.quant)
    faulty = _run(model)
    with restored(model, _twin(model), layers[name]):
        assert _share(wanted, faulty, _run(model)) < 0.1


@pytest.mark.parametrize("name", ["quant", "conv", "again", "add", "fc"])
def test_a_healthy_layer_put_back_changes_next_to_nothing(name: str) -> None:
    """By float arithmetic instead of its kernel: a tie may be rounded otherwise."""
    model = nets.static()
    before, wanted = _layers(model)[name], _run(model)
    with restored(model, _twin(model), before):
        back = _run(model)
    step = float(model.fc.scale)
    assert float((back - wanted).abs().max()) <= step * 1.001
    assert float((back != wanted).float().mean()) < 0.1


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_what_cannot_be_put_back_is_left_alone(how: str) -> None:
    model = MADE[how]()
    before, layer = _run(model), _layers(model)["dequant" if how == "static" else "conv"]
    with restored(model, _twin(model), layer) as possible:
        assert not possible
        assert torch.equal(_run(model), before)


@pytest.mark.parametrize("name", ["quant", "conv", "add", "fc"])
def test_an_error_inside_leaves_the_model_as_it_was(name: str) -> None:
    model = nets.static()
    layer = _layers(model)[name]
    _scale(model.get_submodule(name))
    before = _run(model)
    with pytest.raises(RuntimeError, match="inside"), restored(model, _twin(model), layer):
        raise RuntimeError("inside")
    assert torch.equal(_run(model), before)


def test_the_twin_is_not_changed() -> None:
    model = nets.static()
    twin = _twin(model)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    with restored(model, twin, _layers(model)["conv"]):
        pass
    assert all(torch.equal(value, before[name]) for name, value in twin.state_dict().items())
