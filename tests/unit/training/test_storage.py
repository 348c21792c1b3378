from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.models import build_model
from qreg.quantization import get_method
from qreg.training.storage import pack, unpack

MODELS = ("simple_cnn", "resnet20", "mobilenet_v2", "linear_100")


def _fake_quantized(name: str, method: str) -> torch.nn.Module:
    model = get_method(method).skeleton(build_model(name))
    model.apply(ao.enable_observer)
    with torch.no_grad():
        model(torch.randn(8, 3, 32, 32))
    model.apply(ao.disable_observer)
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["qat", "qat-per-tensor"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
@torch.no_grad()
def test_codes_give_the_bits_that_fake_quantization_gave(name: str, method: str, seed: int) -> None:
    torch.manual_seed(seed)
    model, images = _fake_quantized(name, method), torch.randn(4, 3, 32, 32)
    expected = model(images)
    stored = pack(model)
    assert any(tensor.dtype == torch.int8 for tensor in stored.values())
    assert not any(t.dtype == torch.float16 for t in stored.values())
    model.load_state_dict(unpack(stored))
    assert torch.equal(model(images), expected)


@pytest.mark.parametrize("name", MODELS)
def test_float_weights_are_rounded_once(name: str) -> None:
    model = build_model(name)
    once = unpack(pack(model))
    model.load_state_dict(once)
    again = unpack(pack(model))
    assert all(torch.equal(once[key], again[key]) for key in once)
    relative = (once_weight(model) - once_weight(build_model(name))).abs().max()
    assert 0 < relative < 1e-3


def once_weight(model: torch.nn.Module) -> torch.Tensor:
    return next(p for p in model.parameters() if p.ndim >= 2).detach()


def test_what_has_one_dimension_is_stored_as_it_is() -> None:
    model = build_model("resnet20")
    stored, state = pack(model), model.state_dict()
    small = [key for key, tensor in state.items() if tensor.ndim < 2]
    assert small
    assert all(torch.equal(stored[key], state[key]) for key in small)


def test_a_weight_between_two_codes_gets_the_code_of_the_fake_quantizer() -> None:
    scale, weights = torch.tensor(0.0047), torch.arange(-127.5, 128) * torch.tensor(0.0047)
    seen = torch.fake_quantize_per_tensor_affine(weights, scale, torch.tensor(0), -128, 127)
    state = {"a.weight": weights[:, None], "a.weight_fake_quant.scale": scale[None]}
    module = nn.Module()
    module.state_dict = lambda: state  # type: ignore[method-assign, assignment, misc]
    assert torch.equal(unpack(pack(module))["a.weight"][:, 0], seen)
