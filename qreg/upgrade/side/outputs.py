"""A model's outputs as arrays in a file that the driver reads without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from torch import nn

from qreg.data.inputs import Inputs, Run
from qreg.metrics.layers import layer_outputs
from qreg.upgrade.reading import LOGITS

Array = npt.NDArray[Any]
#: Number of samples for which every layer's output is written.
LAYER_IMAGES = 8


def write_outputs(
    path: Path,
    run: Run,
    model: nn.Module,
    images: Inputs,
    *,
    logits: Array | None = None,
) -> None:
    """Write every layer's output on `images` (codes or floats), and the logits of all samples."""
    outputs = layer_outputs(run, model, images)
    # numbered, because safetensors sorts names
    arrays = {f"{n:04d} {name}": _array(x) for n, (name, x) in enumerate(outputs.items())}
    write_arrays(path, arrays if logits is None else {**arrays, LOGITS: logits})


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name."""
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def _array(tensor: torch.Tensor) -> Array:
    plain = tensor.int_repr() if tensor.is_quantized else tensor
    array: Array = plain.detach().contiguous().numpy()
    return array
