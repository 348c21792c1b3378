from __future__ import annotations

import torch
from torch import nn

from qreg.metrics.operators import count_operators
from tests.unit.metrics import nets

IMAGES = nets.images(1)


def _counts(model: nn.Module) -> dict[str, int]:
    found = count_operators(model, IMAGES)
    assert list(found) == sorted(found)
    return {each.name: each.count for each in found}


def _work(model: nn.Module) -> dict[str, int]:
    names = ("aten::convolution", "aten::addmm", "aten::quantize_per_tensor", "aten::dequantize")
    return {n: c for n, c in _counts(model).items() if n.startswith("quantized::") or n in names}


def test_float_layers_run_as_often_as_they_are_called() -> None:
    assert _work(nets.source()) == {"aten::convolution": 3, "aten::addmm": 1}


def test_dynamic_replaces_the_linear_layer_alone() -> None:
    assert _work(nets.dynamic()) == {"aten::convolution": 3, "quantized::linear_dynamic": 1}


def test_static_leaves_no_float_work() -> None:
    assert _work(nets.static()) == {
        "aten::quantize_per_tensor": 1,
        "quantized::conv2d_relu": 1,
        "quantized::conv2d": 2,
        "quantized::add": 1,
        "quantized::linear": 1,
        "aten::dequantize": 1,
    }


def test_counts_are_of_one_pass_and_change_nothing() -> None:
    model = nets.static()
    with torch.no_grad():
        before = model(IMAGES)
    assert _counts(model) == _counts(model)
    with torch.no_grad():
        assert torch.equal(before, model(IMAGES))


def test_what_runs_is_not_recorded_for_gradients() -> None:
    seen = []
    count_operators(lambda x: seen.append(nets.source()(x).requires_grad) or x, IMAGES)
    assert seen == [False]
