"""Quantization at the input and dequantization at the output of a model that has neither."""

from __future__ import annotations

import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub


class Stubbed(nn.Module):
    """A user's model between two stubs; its layers are named ``model.<name>``.

    It is put around the float model too, so that layers have the same names in every method.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.model = model
        self.dequant = DeQuantStub()
        if hasattr(model, "fuse_model"):
            self.fuse_model = model.fuse_model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.dequant(self.model(self.quant(images)))
        return logits


def with_stubs(model: nn.Module) -> nn.Module:
    """The model itself if it has a QuantStub, else the model between stubs."""
    has_one = any(isinstance(module, QuantStub) for module in model.modules())
    return model if has_one else Stubbed(model)
