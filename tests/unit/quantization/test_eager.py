from __future__ import annotations

import pytest
import torch
from torch import nn

from qreg.models.stubs import with_stubs
from qreg.quantization import Context, get_method
from qreg.quantization.eager import fusable_groups, fuse


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.shared = nn.ReLU()
        self.head = nn.Conv2d(4, 2, 1)
        self.tail = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = self.shared(self.head(x))
        return self.shared(self.tail(x)) + x


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.relu(y) + y


class _Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_chains_are_found() -> None:
    assert fusable_groups(_Net()) == [["conv", "norm", "relu"]]


def test_a_value_used_twice_is_not_fused_away() -> None:
    assert fusable_groups(_Branching()) == []


@torch.no_grad()
def test_fusing_keeps_the_function() -> None:
    model, images = _Net().eval(), torch.randn(2, 3, 5, 5)
    expected = model(images)
    assert torch.allclose(fuse(model)(images), expected, atol=1e-6)


def test_of_what_cannot_be_traced_sequences_are_fused() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten()
    )
    layers.append(nn.Sequential(nn.Linear(100, 4), nn.ReLU(), nn.Linear(4, 2)))
    model = nn.Sequential(layers, _Untraceable())
    assert fusable_groups(model) == [["0.0", "0.1", "0.2"], ["0.5.0", "0.5.1"]]
    assert isinstance(fuse(_Untraceable()), _Untraceable)


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        ("static", nn.ConvTranspose2d(4, 4, 2)),
        ("fx-static", nn.ConvTranspose2d(4, 4, 2)),
        ("fx-static", nn.PReLU()),  # PyTorch's quantized PReLU is wrong by 72 % here
    ],
)
@torch.no_grad()
def test_layers_without_weights_per_channel(method: str, layer: nn.Module) -> None:
    torch.manual_seed(0)
    model = with_stubs(nn.Sequential(nn.Conv2d(3, 4, 3), layer)).eval()
    images = torch.randn(2, 3, 8, 8)
    expected = model(images)
    made = get_method(method).quantize(model, Context("x86", lambda: iter((images,)), images))
    assert float((made(images) - expected).norm() / expected.norm()) < 0.1
