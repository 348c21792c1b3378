"""One Linear(100, 100): 40,000 bytes of float weights become 10,000 bytes of int8."""

from __future__ import annotations

import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.nn import functional


class Linear100(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, 100), of which a 10-class dataset uses the first 10.

    The images are averaged to 10 x 10 grey pixels, without parameters and in float, so that
    the one linear layer sees its 100 features.
    """

    def __init__(self) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.linear = nn.Linear(100, 100)
        self.dequant = DeQuantStub()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = images.mean(dim=1, keepdim=True)
        features = functional.adaptive_avg_pool2d(grey, (10, 10)).flatten(1)
        logits: torch.Tensor = self.dequant(self.linear(self.quant(features)))
        return logits
