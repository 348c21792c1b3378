from __future__ import annotations

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.models.stubs import with_stubs
from qreg.quantization.eager import fuse, set_qconfig, static_qconfig


@torch.no_grad()
def test_a_model_without_stubs_can_be_quantized_whole() -> None:
    model = with_stubs(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())).eval()
    images = torch.randn(2, 3, 5, 5)
    expected = model(images)
    set_qconfig(fuse(model), static_qconfig("x86", "per_channel"))
    ao.prepare(model, inplace=True)
    model(images)
    ao.convert(model, inplace=True)
    found = model(images)
    assert not found.is_quantized
    assert model.get_submodule("model.0").weight().dtype == torch.qint8  # type: ignore[operator]
    assert (found - expected).abs().max() < 0.1


def test_a_model_with_stubs_is_left_alone() -> None:
    model = nn.Sequential(ao.QuantStub(), nn.Linear(2, 2), ao.DeQuantStub())
    assert with_stubs(model) is model


class _FusesItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.relu = nn.ReLU()
        self.asked: list[object] = []

    def fuse_model(self, is_qat: object) -> None:
        self.asked.append(is_qat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x))


def test_a_models_own_fusing_is_used() -> None:
    model = _FusesItself()
    fuse(with_stubs(model))
    assert model.asked == [False]
    assert isinstance(model.relu, nn.ReLU)


class _Flagged(nn.Module):
    def forward(self, x: torch.Tensor, embed: bool = False, mode: str = "sum") -> torch.Tensor:
        if embed:
            return x
        return x + 1 if mode == "sum" else x * 2


def test_a_flag_is_no_input_and_does_not_stop_a_tracer() -> None:
    made = with_stubs(_Flagged())
    assert not hasattr(made, "quant_embed")
    traced = torch.fx.symbolic_trace(made)
    assert torch.equal(traced(torch.zeros(2)), torch.ones(2))
