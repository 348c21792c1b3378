"""One layer of an ONNX file with a baseline's parameters, or in float: another model each time."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.onnx_graph import Array, OnnxGraph
from qreg.artifacts.onnx_restore import float_layer, restore_layer
from qreg.quantization.eager import fold_batch_norm
from qreg.records.numerics import Layer

_STUBBED = "model."


@torch.no_grad()
def weights_by_layer(source: nn.Module) -> dict[str, Array]:
    """The float weights (out, in, ...) of a model's layers, BatchNorm folded.

    Args:
        source: modules, which are left as they are; or a model from a file.
    """
    if isinstance(source, OnnxModel):
        layers = [one for one in source.graph.layers if one.weight and not one.weight_quantizer]
        return {one.name: source.graph.array(one.weight) for one in layers}
    twin = fold_batch_norm(copy.deepcopy(source).eval())
    found = {}
    for name, module in twin.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim > 1:
            values = np.asarray(weight.detach().float().numpy())
            found[name] = found[name.removeprefix(_STUBBED)] = values
    return found


def restored_file(model: OnnxModel, layer: Layer, weights: dict[str, Array]) -> OnnxModel | None:
    """The model with this layer as the baseline has it; None where nothing of it can be restored.

    Raises:
        ModelFileError: onnxruntime cannot run the changed graph.
    """
    done: list[bool] = []

    def change(graph: OnnxGraph) -> None:
        weight = weights.get(layer.name.partition("#")[0])
        done.append(restore_layer(graph, layer, weight))

    made = model.changed(change)
    return made if done[0] else None


def file_in_float(model: OnnxModel, name: str, weights: dict[str, Array]) -> OnnxModel | None:
    """The model with this layer in float; None where it cannot be."""
    done: list[bool] = []

    def change(graph: OnnxGraph) -> None:
        done.append(float_layer(graph, name, weights.get(name.partition("#")[0])))

    made = model.changed(change)
    return made if done[0] else None
