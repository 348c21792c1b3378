"""A small network with every kind of layer, and its quantized versions, for tests of metrics."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional

from qreg.quantization.eager import Weights
from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.method import Context
from qreg.quantization.static import quantize_static


class Net(nn.Module):
    """Convolution with BatchNorm and ReLU, one that runs twice, a sum, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.add = FloatFunctional()
        self.fc = nn.Linear(8 * 7 * 7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn(self.conv(self.quant(x))))
        y = self.add.add(y, self.again(self.again(y)))
        out: torch.Tensor = self.dequant(self.fc(y.flatten(1)))
        return out


def source() -> nn.Module:
    """The float network, BatchNorm away from its neutral values."""
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for values in (net.bn.weight, net.bn.running_var):
            values.uniform_(0.5, 2.0)
        for values in (net.bn.bias, net.bn.running_mean):
            values.normal_()
    return net.eval()


def images(count: int = 6) -> torch.Tensor:
    """Model inputs (count, 3, 16, 16)."""
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def static(weights: Weights = "per_channel") -> nn.Module:
    """Quantized statically for the default engine; a copy of its own each time."""
    return copy.deepcopy(_static(weights))


@cache
def _static(weights: Weights) -> nn.Module:
    context = Context(default_engine(), lambda: iter([images()]))
    with use_engine(default_engine()):
        return quantize_static(source(), context, weights=weights)


def dynamic() -> nn.Module:
    """Its linear layer quantized dynamically."""
    model: nn.Module = ao.quantize_dynamic(source(), {nn.Linear}, dtype=torch.qint8)
    return model
