"""Fake quantization in plain tensor operations, against PyTorch's modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import fake_quantize, observer

from qreg.quantization.plain_fake_quantize import (
    PlainFakeQuantize,
    choose_fused,
    fake_quantizers,
    with_plain_fake_quantize,
)
from qreg.quantization.qat import qat_skeleton

MADE: dict[str, Any] = {
    "x86 activations": lambda: ao.get_default_qat_qconfig("x86").activation(),
    "fused weights, a channel": fake_quantize.default_fused_per_channel_wt_fake_quant,
    "fused weights, a tensor": fake_quantize.default_fused_wt_fake_quant,
    "min-max": fake_quantize.FakeQuantize.with_args(
        observer=observer.MinMaxObserver, quant_min=0, quant_max=255
    ),
    "moving average": fake_quantize.default_fake_quant,
    "weights": fake_quantize.default_weight_fake_quant,
    "weights, a channel": fake_quantize.default_per_channel_weight_fake_quant,
}


@pytest.mark.parametrize("kind", MADE)
def test_values_gradients_and_ranges_are_pytorchs_bit_by_bit(kind: str) -> None:
    fake = MADE[kind]()
    plain = PlainFakeQuantize(fake)
    rng = torch.Generator().manual_seed(0)
    for size in (1.0, 3.0, 0.2, 10.0):
        x = size * torch.randn(8, 5, 3, generator=rng)
        own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        slopes = torch.randn(x.shape, generator=rng)
        found, expected = fake(own), plain(other)
        found.backward(slopes)
        expected.backward(slopes)
        assert torch.equal(found, expected)
        assert own.grad is not None
        assert other.grad is not None
        assert torch.equal(own.grad, other.grad)
        assert torch.equal(fake.activation_post_process.min_val, plain.low)
        assert torch.equal(fake.activation_post_process.max_val, plain.high)


@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
@pytest.mark.parametrize("ends", [(0, 127), (0, 255), (-128, 127)])
def test_scales_are_those_of_the_fused_operator(symmetric: bool, ends: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(1)
    low = torch.cat([-torch.rand(40, generator=rng) * 5, torch.tensor([0.0, -1e-7, 0.5, -3.0])])
    high = torch.cat([torch.rand(40, generator=rng) * 5, torch.tensor([0.0, 1e-7, 2.0, -1.0])])
    scale, zero = choose_fused(low, high, ends, symmetric=symmetric)
    for row in range(len(low)):
        state = [low[row].clone(), high[row].clone(), torch.ones(1), torch.zeros(1).int()]
        torch.fused_moving_avg_obs_fake_quant(
            torch.ones(1), torch.tensor([0]), torch.tensor([1]), *state,
            averaging_const=0.01, quant_min=ends[0], quant_max=ends[1], ch_axis=-1,
            per_row_fake_quant=False, symmetric_quant=symmetric,
        )  # fmt: skip
        assert (float(scale[row]), int(zero[row])) == (float(state[2]), int(state[3]))


def test_only_known_kinds_are_replaced() -> None:
    class Own(fake_quantize.FakeQuantize):
        pass

    prepared = qat_skeleton(
        nn.Sequential(ao.QuantStub(), nn.Linear(3, 2), ao.DeQuantStub()), weights="per_tensor"
    )
    model, plain = with_plain_fake_quantize(prepared)
    assert set(plain) == set(fake_quantizers(prepared))
    assert not fake_quantizers(model)
    prepared[1].weight_fake_quant = Own()
    _, plain = with_plain_fake_quantize(prepared)
    assert set(plain) == set(fake_quantizers(prepared)) - {"1.weight_fake_quant"}
