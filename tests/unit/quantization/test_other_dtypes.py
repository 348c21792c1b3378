"""Weights of 16 and of four bits: what they compute, what is counted, what is named."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from qreg.errors import UnavailableError
from qreg.metrics.layers import layer_numerics
from qreg.metrics.size import model_size
from qreg.quantization import Context, get_method
from qreg.quantization.engines import default_engine
from qreg.quantization.needs import need_torchao
from qreg.records.measurement import Role

IMAGES = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
CONTEXT = Context(default_engine(), lambda: iter([IMAGES]), IMAGES)


def _net() -> nn.Module:
    """Two layers of 64 inputs, and one of 50, which no group of 32 divides."""
    torch.manual_seed(0)
    parts = nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10)
    return nn.Sequential(*parts).eval()


@torch.no_grad()
def _made(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_method(name).quantize(copy.deepcopy(_net()), CONTEXT).eval()


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_sixteen_bits_halve_the_weights_and_take_float_inputs(name: str) -> None:
    made, net = _made(name), _net()
    with torch.no_grad():
        found = made(IMAGES)
        assert found.dtype == torch.float32
        assert torch.allclose(found, net(IMAGES), atol=0.02)
        layers = layer_numerics(made, made, copy.deepcopy(net), IMAGES)
    assert model_size(made).weight_bytes * 2 == model_size(net).weight_bytes
    dtypes = {one.dtype for one in model_size(made).tensors if one.role is Role.WEIGHT}
    assert dtypes == {name}
    assert [layer.name for layer in layers] == ["0", "1", "2", "3", "4"]
    assert all(layer.weight_digest for layer in layers if layer.kind.endswith("Linear"))


def test_four_bits_by_group_and_the_layer_that_is_skipped_is_named() -> None:
    try:
        need_torchao()
    except UnavailableError as error:
        pytest.skip(str(error))
    made = _made("torchao-int4-weight-only")
    size = model_size(made)
    assert size.float_layers == ("4",)
    stored = {t.layer: t for t in size.tensors if t.role is Role.WEIGHT}
    assert stored["0"].bytes == stored["0"].elements == 64 * 64  # a byte a code
    assert stored["4"].bytes == 4 * 500
    layers = {x.name: x for x in layer_numerics(made, made, copy.deepcopy(_net()), IMAGES)}
    quantizer = layers["0"].weight
    assert quantizer is not None
    assert (quantizer.dtype, len(quantizer.scales)) == ("int4", 64 * 2)
    assert layers["4"].weight is None
    found = layers["0"].sqnr_db
    assert found is not None
    assert 10 < found < 35
