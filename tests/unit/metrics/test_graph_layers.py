"""Values that are no tensors: sizes, lists; and layers that have several weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from qreg.metrics.layers import layer_numerics
from qreg.metrics.size import model_size
from qreg.metrics.tensors import digest
from qreg.models.stubs import with_stubs
from qreg.quantization import Context, get_method
from qreg.records.measurement import Role

Operation = Callable[[torch.Tensor], torch.Tensor]


class Net(nn.Module):
    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(16, 3)
        self.operation = operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.operation(self.conv(x)))


@pytest.mark.parametrize(
    "operation",
    [
        lambda y: y.reshape(y.size(0), -1),
        lambda y: torch.cat(y.chunk(2, 1), 1).flatten(1),
        lambda y: torch.cat([*y.split([1, 3], 1)], 1).flatten(1),
        lambda y: y.flatten(1).topk(16)[0],
    ],
)
def test_graphs_whose_values_are_not_all_tensors(operation: Operation) -> None:
    pytest.importorskip("torchao")
    images = torch.randn(2, 3, 8, 8)
    model = with_stubs(Net(operation)).eval()
    source = copy.deepcopy(model)
    context = Context("x86", lambda: iter((images,)), images)
    made = get_method("pt2e-static").quantize(model, context)
    found = layer_numerics(made, made, source, images)
    by_name = {layer.name: layer for layer in found}
    assert by_name["model.conv"].weight is not None
    assert by_name["model.fc"].weight is not None


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.rnn(x)
        x, _ = self.attention(x, x, x)
        return self.fc(x.mean(1))


def test_weights_that_stay_float_in_recurrent_layers_and_attention() -> None:
    x = torch.randn(2, 5, 8)
    model = Recurrent().eval()
    model.rnn = nn.RNN(8, 16, batch_first=True)  # LSTM and GRU are quantized
    made = get_method("dynamic").quantize(model, Context("x86", lambda: iter((x,)), x))
    size = model_size(made)
    stay = {t.layer: 0 for t in size.tensors}
    for tensor in size.tensors:
        if tensor.role is Role.WEIGHT and tensor.dtype == "float32":
            stay[tensor.layer] += tensor.bytes
    assert stay["rnn"] == 16 * (8 + 16) * 4
    assert stay["attention"] == 3 * 16 * 16 * 4
    assert {"rnn", "attention"} <= set(size.float_layers)


def test_a_recurrent_layer_that_moved_is_named() -> None:
    x = torch.randn(2, 5, 8)
    model = Recurrent().eval()
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.rnn.weight_hh_l0.mul_(1.02)
        before = layer_numerics(model, model, copy.deepcopy(model), x)
        after = layer_numerics(moved, moved, copy.deepcopy(moved), x)
    pairs = zip(before, after, strict=True)
    first = next(a for b, a in pairs if b.weight_digest != a.weight_digest)
    assert first.name == "rnn"
    assert {layer.name for layer in before} >= {"rnn", "attention", "fc"}


def test_a_digest_of_what_numpy_does_not_have() -> None:
    assert digest(torch.ones(2, dtype=torch.bfloat16)) != digest(torch.zeros(2).bfloat16())
