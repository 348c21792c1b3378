from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from qreg.metrics.saturation import LayerInput, audit_saturation
from qreg.quantization.engines import available_engines
from qreg.records.measurement import LayerSaturation

pytestmark = pytest.mark.skipif(
    "fbgemm" not in available_engines(), reason="no fbgemm in this PyTorch"
)


class Quantized(nn.Module):
    """Float codes in steps of 1, quantized with zero point 0, then one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.quant = nnq.Quantize(1.0, 0, torch.quint8)
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(self.quant(x))
        return out


def _linear(weight: list[list[int]]) -> nn.Module:
    layer = nnq.Linear(len(weight[0]), len(weight))
    codes = torch.quantize_per_tensor(torch.tensor(weight).float(), 1.0, 0, torch.qint8)
    layer.set_weight_bias(codes, None)
    return Quantized(layer)


@pytest.fixture(autouse=True)
def _fbgemm() -> Any:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    yield
    torch.backends.quantized.engine = before


def test_counts_are_those_of_hand() -> None:
    # 255 * 127 twice overflows, 255 * 127 beside 0 does not.
    model = _linear([[127, 127, 127, 0], [1, 1, 127, 127]])
    x = torch.tensor([[255.0, 255.0, 255.0, 0.0], [255.0, 255.0, 100.0, 255.0]])
    as_is, halved = audit_saturation(model, [x], engine="fbgemm")
    assert as_is == LayerSaturation(
        layer="layer", halved=False, pairs=8, overflows=3, outputs=4, outputs_hit=3,
        codes=8, codes_above_127=6,
    )  # fmt: skip
    assert (halved.halved, halved.pairs, halved.overflows) == (True, 8, 0)


def test_batches_are_added_up_and_hooks_taken_off() -> None:
    model = _linear([[127, 127]])
    x = torch.tensor([[255.0, 255.0]])
    one = audit_saturation(model, [x], engine="fbgemm")[0]
    assert audit_saturation(model, [x, x, x], engine="fbgemm")[0] == one + one + one
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_convolutions_are_counted_by_the_engines_layout() -> None:
    """Of 3 channels fbgemm pairs the last with the next pixel's first, oneDNN with nothing."""
    layer = nnq.Conv2d(3, 1, (1, 2))
    weight = torch.tensor([0.0, 0.0, 127.0, 127.0, 0.0, 0.0]).reshape(1, 1, 2, 3)
    codes = torch.quantize_per_tensor(weight.permute(0, 3, 1, 2), 1.0, 0, torch.qint8)
    layer.set_weight_bias(codes, None)
    x = torch.full((1, 3, 1, 2), 255.0)
    found = {
        engine: audit_saturation(Quantized(layer), [x], engine=engine)[0].overflows
        for engine in ("fbgemm", "x86", "onednn")
    }
    assert found == {"fbgemm": 1, "x86": 1, "onednn": 0}


def test_qnnpack_adds_nothing_in_pairs() -> None:
    found = audit_saturation(_linear([[127, 127]]), [torch.full((1, 2), 255.0)], engine="qnnpack")
    assert [(one.pairs, one.overflows, one.codes) for one in found] == [(0, 0, 2)] * 2


def test_dynamic_layers_are_counted_with_the_range_of_their_input() -> None:
    torch.manual_seed(0)
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 3)), {nn.Linear})
    as_is, _ = audit_saturation(model, [torch.rand(5, 6) - 0.5], engine="fbgemm")
    assert (as_is.pairs, as_is.outputs, as_is.overflows) == (45, 15, 0)
    assert as_is.codes_above_127 == 0, "the module reduces the range of its input"


def test_halving_keeps_zero_and_never_overflows() -> None:
    for zero_point in (0, 1, 77, 128, 254, 255):
        given = LayerInput(np.arange(256), zero_point)
        halved = given.halved()
        assert halved.codes[zero_point] == halved.zero_point
        assert halved.codes.min() >= 0
        assert 2 * int(halved.codes.max()) * 127 <= 2**15 - 1
        assert 2 * int(halved.codes.max()) * -128 >= -(2**15)


def test_records_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="contradict"):
        LayerSaturation("a", False, pairs=1, overflows=2)
    with pytest.raises(ValueError, match="not counts of one thing"):
        LayerSaturation("a", False) + LayerSaturation("b", False)
