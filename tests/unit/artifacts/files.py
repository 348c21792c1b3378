"""A small network, and the files that are made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Convolutions in a Sequential, BatchNorm, a functional ReLU, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.features(x))
        x = nn.functional.avg_pool2d(x, 4)
        head: torch.Tensor = self.head(x.flatten(1))
        return head


def net() -> nn.Module:
    """Always the same weights."""
    torch.manual_seed(0)
    return Net().eval()


def need_onnxruntime() -> None:
    """Skip where an extra is not installed."""
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)


def export_program(model: nn.Module, path: Path, *, batches: bool = True) -> Path:
    """Write an exported program."""
    shapes: Any = ({0: torch.export.Dim("batch")},) if batches else None
    torch.export.save(torch.export.export(model, (IMAGES[:2],), dynamic_shapes=shapes), path)
    return path


def export_onnx(path: Path, model: nn.Module | None = None) -> Path:
    """Write the float model as ONNX."""
    from qreg.quantization.onnxruntime_methods import export_onnx as exported

    path.write_bytes(exported(model or net(), IMAGES[:2]))
    return path


def quantized(path: Path, **options: bool) -> Path:
    """Write the model, quantized statically by onnxruntime."""
    from qreg.quantization.onnxruntime_methods import export_onnx as exported
    from qreg.quantization.onnxruntime_methods import quantize_bytes_static

    floats = exported(net(), IMAGES[:2])
    path.write_bytes(quantize_bytes_static(floats, ["input"], [(IMAGES,)], **options))
    return path


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    """Change an ONNX file in place; `change` is given its ModelProto."""
    import onnx

    model = onnx.load(str(path))
    change(model)
    onnx.save(model, str(path))
    return path


def set_tensor(model: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Replace a stored tensor's values by what `change` makes of a copy of them."""
    from onnx import numpy_helper

    stored = next(one for one in model.graph.initializer if one.name == name)
    values = change(numpy_helper.to_array(stored).copy())
    stored.CopyFrom(numpy_helper.from_array(values, name))


def node(model: Any, kind: str, given: str) -> Any:
    """The node of a kind that takes this tensor."""
    return next(n for n in model.graph.node if n.op_type == kind and given in n.input)
