"""What a quantized tensor weighs, and that storing and copying it changes nothing."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.invariants.implementations import TENSORS
from tests.invariants.snippet import snippet
from tests.invariants.strategies import any_scales, tensor_cases

_DTYPES = {torch.qint8: 1, torch.quint8: 1, torch.qint32: 4}


def _saved(value: torch.Tensor) -> torch.Tensor:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    loaded: torch.Tensor = torch.load(buffer, weights_only=True)
    return loaded


_COPIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "torch.save": _saved,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "clone": torch.Tensor.clone,
}


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Codes, dtype and parameters, bit for bit."""
    if one.dtype != other.dtype or one.qscheme() != other.qscheme():
        return False
    if one.qscheme() == torch.per_tensor_affine:
        parameters = (one.q_scale(), one.q_zero_point()) == (other.q_scale(), other.q_zero_point())
    else:
        parameters = torch.equal(
            one.q_per_channel_scales(), other.q_per_channel_scales()
        ) and torch.equal(one.q_per_channel_zero_points(), other.q_per_channel_zero_points())
    return parameters and torch.equal(one.int_repr(), other.int_repr())


@pytest.mark.parametrize(("dtype", "size"), _DTYPES.items(), ids=str)
def test_element_size(dtype: torch.dtype, size: int) -> None:
    q = torch.quantize_per_tensor(torch.ones(3), 0.5, 0, dtype)
    assert q.element_size() == size
    assert q.int_repr().element_size() == size


@pytest.mark.parametrize("channels", [False, True], ids=["per tensor", "per channel"])
def test_a_hundred_by_a_hundred_weights_take_ten_thousand_bytes(channels: bool) -> None:
    weight = torch.linspace(-1, 1, 10_000).reshape(100, 100)
    if channels:
        scales, zeros = torch.full((100,), 0.01), torch.zeros(100, dtype=torch.int64)
        q = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    else:
        q = torch.quantize_per_tensor(weight, 0.01, 0, torch.qint8)
    assert q.numel() * q.element_size() == 10_000
    assert q.untyped_storage().nbytes() == 10_000
    assert weight.untyped_storage().nbytes() == 40_000


@pytest.mark.parametrize("how", _COPIES)
@given(data=st.data())
def test_copying_a_tensor_is_exact(how: str, data: st.DataObject) -> None:
    case = data.draw(tensor_cases(TENSORS.ranges, scales=any_scales(-90, 90), reach=TENSORS.reach))
    text = TENSORS.expression("quantize", case.codes).replace(".int_repr()", "")
    q = snippet(text, **case.inputs).value()
    assert same(q, _COPIES[how](q)), f"{how} changed {q}"


@pytest.mark.parametrize("how", _COPIES)
@pytest.mark.parametrize("axis", [0, 1])
def test_copying_a_tensor_of_channels_is_exact(how: str, axis: int) -> None:
    x = torch.linspace(-3, 3, 35).reshape(5, 7)
    scales = torch.linspace(0.011, 0.07, x.shape[axis])
    zeros = torch.arange(x.shape[axis])
    q = torch.quantize_per_channel(x, scales, zeros, axis, torch.qint8)
    assert same(q, _COPIES[how](q))
    assert _COPIES[how](q).q_per_channel_axis() == axis


def _quantized_linear() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    quantized: nn.Module = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    return quantized


@pytest.mark.parametrize("how", ["torch.save", "deepcopy", "pickle of the state"])
def test_storing_a_dynamic_model_keeps_every_bit_of_its_output(how: str) -> None:
    model, x = _quantized_linear(), torch.linspace(-2, 2, 700).reshape(7, 100)
    if how == "deepcopy":
        other = copy.deepcopy(model)
    else:
        other = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)), {nn.Linear}
        )
        assert not torch.equal(model(x), other(x)), "the fresh model must differ to begin with"
        other.load_state_dict(_through(how, model))
    assert torch.equal(model(x), other(x))


def _through(how: str, model: nn.Module) -> dict[str, object]:
    state: dict[str, object]
    if how == "torch.save":
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
    else:
        state = pickle.loads(pickle.dumps(model.state_dict()))
    return state
