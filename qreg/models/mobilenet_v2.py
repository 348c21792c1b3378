"""torchvision's quantizable MobileNetV2, 10 classes, width 0.5.

Depthwise layers have few weights per channel and ranges that differ much between channels:
this is where quantization hurts.
"""

from __future__ import annotations

from torch import nn


def mobilenet_v2() -> nn.Module:
    """Images (N, 3, 32, 32) to logits (N, 10).

    The first convolution has stride 1, as is usual for 32 x 32 images: with torchvision's
    stride of 2 the last ten blocks would see a single pixel.
    """
    from torchvision.models.quantization import mobilenet_v2 as build

    model: nn.Module = build(weights=None, quantize=False, num_classes=10, width_mult=0.5)
    first = model.get_submodule("features.0.0")
    assert isinstance(first, nn.Conv2d)
    first.stride = (1, 1)
    return model
