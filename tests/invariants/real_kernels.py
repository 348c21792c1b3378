"""A whole model's layers against the oracle, under this process's instruction set.

    FBGEMM_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 \\
        python -m tests.invariants.real_kernels --engine onednn --dataset shapes10

Prints a JSON object a layer: how many outputs there are, how many differ from what the oracle
predicts for saturating pairs, how many of these lie farther from a rounding boundary than
float32 can move them, and how many differ from exact accumulation.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from qreg.data import get_dataset, load_split
from qreg.data.batches import batches
from qreg.metrics.saturation import LayerInput, layer_input, pair_sums
from qreg.models import build_model
from qreg.quantization import Context, get_method, reference
from qreg.training.checkpoints import checkpoint_folders, find_checkpoint, load_checkpoint
from tests.invariants import engines
from tests.invariants.tolerances import KERNEL_ROUNDINGS, UNIT

Reals = npt.NDArray[np.float64]


def full_range_model(name: str, dataset: Any, engine: str) -> nn.Module:
    """The static model without ``reduce_range`` (oneDNN's qconfig), run by any engine."""
    path = find_checkpoint(checkpoint_folders(), name, dataset.name, "fp32")
    model, _ = load_checkpoint(path, lambda: build_model(name))
    train = load_split(dataset, "train").head(128)
    context = Context("onednn", lambda: batches(train, dataset, size=64))
    torch.backends.quantized.engine = engine
    return get_method("static").quantize(model.eval(), context)


def real_steps(layer: Any, given: LayerInput, sx: float, sums: npt.NDArray[np.int64]) -> Reals:
    """Outputs in steps of the layer's scale, before rounding; binary64, accumulators exact."""
    weight = layer.weight()
    sw = weight.q_per_channel_scales().numpy().astype(np.float64)
    bias = np.zeros(len(sw)) if layer.bias() is None else layer.bias().detach().numpy()
    shape = (1, -1) + (1,) * (sums.ndim - 2)
    real: Reals = (sums * (sx * sw).reshape(shape) + bias.reshape(shape)) / layer.scale
    return real


def compare(layer: Any, x: torch.Tensor, y: torch.Tensor, engine: str) -> dict[str, int]:
    """Counts for one layer's call."""
    given = layer_input(layer, x)
    op = "linear" if isinstance(layer, nnq.Linear) else "conv2d"
    kernel: Any = engines.kernel(engine, op)
    exact = exact_sums(layer, given)
    pairs = pair_sums(layer, given, kernel)
    actual = y.int_repr().numpy().astype(np.int64)
    relu = "ReLU" in type(layer).__name__
    lowest = layer.zero_point if relu else 0

    def codes(real: Reals) -> npt.NDArray[np.int64]:
        return np.clip(np.rint(real) + layer.zero_point, lowest, 255).astype(np.int64)

    saturated = real_steps(layer, given, x.q_scale(), pairs.accumulators)
    slack = (abs(saturated) + 512) * float(UNIT) * KERNEL_ROUNDINGS
    differ = codes(saturated) != actual
    explained = (codes(saturated - slack) <= actual) & (actual <= codes(saturated + slack))
    return {
        "outputs": actual.size,
        "overflows": int(pairs.overflows.sum()),
        "differ": int(differ.sum()),
        "unexplained": int((~explained).sum()),
        "differ_from_exact": int(
            (codes(real_steps(layer, given, x.q_scale(), exact)) != actual).sum()
        ),
    }


def exact_sums(layer: Any, given: LayerInput) -> npt.NDArray[np.int64]:
    """What a CPU with VNNI accumulates."""
    weight = layer.weight().int_repr().numpy()
    if isinstance(layer, nnq.Linear):
        return reference.linear(given.codes, weight, zx=given.zero_point)
    where = {k: getattr(layer, k) for k in ("stride", "padding", "dilation", "groups")}
    return reference.conv2d(given.codes, weight, zx=given.zero_point, **where)


@torch.no_grad()
def main() -> None:
    """Print one line of JSON a layer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="simple_cnn")
    parser.add_argument("--dataset", default="shapes10")
    parser.add_argument("--engine", default="onednn")
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    dataset = get_dataset(args.dataset)
    model = full_range_model(args.model, dataset, args.engine)
    for name, layer in model.named_modules():
        if isinstance(layer, (nnq.Linear, nnq.Conv2d)):
            layer.register_forward_hook(_reporter(name, args.engine))
    test = load_split(dataset, "test").head(args.images)
    model(next(batches(test, dataset, size=args.images)))


def _reporter(name: str, engine: str) -> Any:
    def report(layer: nn.Module, inputs: tuple[torch.Tensor, ...], y: torch.Tensor) -> None:
        print(json.dumps({"layer": name, **compare(layer, inputs[0], y, engine)}))

    return report


if __name__ == "__main__":
    main()
