"""ResNet-20 for 32 x 32 images.

Source: He et al., "Deep Residual Learning for Image Recognition" (2015), section 4.2, with
projection shortcuts (option B): padding with zeros has no quantized kernel of its own.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual addition: (N, C, H, W) to (N, width, H/s, W/s)."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )
        # `+` has no scale of its own: a FloatFunctional carries the sum's quantization parameters.
        self.add = FloatFunctional()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: torch.Tensor = self.add.add_relu(y, self.shortcut(x))
        return out


class ResNet20(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.stage1 = _stage(16, 16, stride=1)
        self.stage2 = _stage(16, 32, stride=2)
        self.stage3 = _stage(32, 64, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, 10)
        self.dequant = DeQuantStub()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn(self.conv(self.quant(images))))
        x = self.stage3(self.stage2(self.stage1(x)))
        x = self.fc(self.flatten(self.pool(x)))
        logits: torch.Tensor = self.dequant(x)
        return logits


def _stage(channels: int, width: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(channels, width, stride=stride)
    return nn.Sequential(
        first, BasicBlock(width, width, stride=1), BasicBlock(width, width, stride=1)
    )
