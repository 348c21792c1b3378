"""Layers of every kind can be changed, whatever their weights look like."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import quantized as nnq
from torch.ao.nn.quantized import dynamic as nnqd

from qreg.faults.families.weights import _one_code
from qreg.faults.surgery import change_weight, every_weight


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_one_code_changes_whatever_the_order_in_memory(memory: torch.memory_format) -> None:
    weight = torch.randn(4, 3, 3, 3).to(memory_format=memory)
    layer = nnq.Conv2d(3, 4, 3)
    layer.set_weight_bias(torch.quantize_per_tensor(weight, 0.02, 0, torch.qint8), None)
    before = layer.weight().int_repr().int()
    change_weight(layer, _one_code)
    moved = (layer.weight().int_repr().int() - before).abs()
    assert (moved.sum(), moved.max()) == (1, 1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_all_weights_of_a_recurrent_layer_are_changed(kind: type[nn.Module]) -> None:
    layer: nn.Module = kind(4, 4)  # type: ignore[call-arg]
    model = ao.quantize_dynamic(nn.Sequential(layer), dtype=torch.qint8)
    assert type(model[0]).__module__ == nnqd.LSTM.__module__
    before = {name: weight.int_repr().int() for name, weight in model[0].get_weight().items()}
    every_weight(lambda codes: -codes.int())(model)
    after = model[0].get_weight()
    assert len(before) == 2
    for name, codes in before.items():
        torch.testing.assert_close(after[name].int_repr().int(), (-codes).clamp(max=127))
