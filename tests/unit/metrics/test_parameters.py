"""Weights that are kept in other places than `weight`: recurrent layers, attention."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from qreg.data.inputs import call
from qreg.metrics.layers import layer_numerics
from qreg.metrics.size import model_size
from qreg.records.measurement import Role, Size


class Tagger(nn.Module):
    """A recurrent layer, attention and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.cell = nn.GRUCell(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(x)
        mixed, _ = self.attention(states, states, states)
        return self.head(self.cell(mixed[:, -1]))


def _weight_bytes(size: Size) -> dict[str, int]:
    found: dict[str, int] = {}
    for tensor in size.tensors:
        if tensor.role is Role.WEIGHT:
            found[tensor.layer] = found.get(tensor.layer, 0) + tensor.bytes
    return found


@pytest.fixture(scope="module")
def quantized() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = Tagger().eval()
    return model, quantize_dynamic(copy.deepcopy(model), {nn.LSTM, nn.Linear, nn.GRUCell})


def test_recurrent_and_attention_weights_are_counted(
    quantized: tuple[nn.Module, nn.Module],
) -> None:
    model, made = quantized
    elements = {
        "rnn": 4 * 16 * (8 + 16),
        "attention": 3 * 16 * 16,
        "attention.out_proj": 16 * 16,
        "cell": 3 * 16 * (16 + 16),
        "head": 3 * 16,
    }
    assert _weight_bytes(model_size(model)) == {name: 4 * n for name, n in elements.items()}
    stays_float = ("attention", "attention.out_proj")
    size = model_size(made)
    assert size.float_layers == stays_float
    assert _weight_bytes(size) == {
        name: n * (4 if name in stays_float else 1) for name, n in elements.items()
    }


def test_a_recurrent_layer_has_numerics_of_its_own(quantized: tuple[nn.Module, nn.Module]) -> None:
    model, made = quantized
    inputs = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(1))
    before = layer_numerics(partial(call, made), made, copy.deepcopy(model), inputs)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.rnn.weight_hh_l0 *= 1.02
    again = quantize_dynamic(copy.deepcopy(moved), {nn.LSTM, nn.Linear, nn.GRUCell})
    after = layer_numerics(partial(call, again), again, moved, inputs)
    assert [layer.name for layer in before] == ["rnn", "attention", "cell", "head"]
    assert before[0].weight is not None
    assert len(before[0].weight.scales) == 2
    assert before[0].sqnr_db is not None
    assert 20 < before[0].sqnr_db < 60
    changed = [a.name for a, b in zip(before, after, strict=True) if a.weight != b.weight]
    assert changed == ["rnn"]
