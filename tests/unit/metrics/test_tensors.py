"""What describes tensors: whether two states are the same, to the bit."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.metrics.tensors import same_state
from qreg.quantization.engines import default_engine, use_engine


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(1.0),
        torch.tensor([float("nan"), 0.0]),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.zeros(0),
        nn.Parameter(torch.ones(2)),
        (torch.ones(1), None),
        torch.qint8,
    ],
    ids=repr,
)
def test_same_as_its_copy(value: Any) -> None:
    buffer = io.BytesIO()
    torch.save({"a": value}, buffer)
    buffer.seek(0)
    again = torch.load(buffer)
    assert same_state({"a": value}, again)
    assert not same_state({"b": value}, again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor(0.0), torch.tensor(-0.0)),
        (torch.ones(2), torch.ones(2, dtype=torch.float64)),
        (torch.ones(2), torch.ones(2, 1)),
        (torch.ones(2), None),
        ((torch.ones(2), None), (torch.ones(2),)),
        (torch.qint8, torch.quint8),
        (object(), object()),
    ],
)
def test_others(one: Any, other: Any) -> None:
    assert not same_state({"a": one}, {"a": other})


@pytest.mark.filterwarnings("ignore")
def test_quantized_codes_and_scales_are_compared() -> None:
    with use_engine(default_engine()):
        model = nn.Sequential(ao.QuantStub(), nn.Conv2d(1, 2, 1)).eval()
        model.qconfig = ao.get_default_qconfig(default_engine())  # type: ignore[assignment]
        made = ao.convert(ao.prepare(model))
        state = made.state_dict()
        assert same_state(state, made.state_dict())
        weight = state["1.weight"]
        scales = weight.q_per_channel_scales() * 2
        other = torch.quantize_per_channel(
            weight.dequantize() * 2, scales, weight.q_per_channel_zero_points(), 0, torch.qint8
        )
        assert torch.equal(weight.int_repr(), other.int_repr())
        assert not same_state(state, {**state, "1.weight": other})


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_cannot_be_seen() -> None:
    made = ao.quantize_dynamic(nn.Sequential(nn.LSTM(2, 2)), {nn.LSTM}, dtype=torch.qint8)
    assert not same_state(made.state_dict(), made.state_dict())
