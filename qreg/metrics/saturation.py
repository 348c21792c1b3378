"""How often 16-bit pair accumulation overflows, layer by layer, on a CPU without VNNI.

Counted on any CPU from weights and activations, with the integer oracle. fbgemm's depthwise
convolutions add in such pairs on every CPU, even with VNNI. For some layers the layout of pairs is
only partly known, and the counts are an estimate: fbgemm has special kernels for convolutions in
groups of 4, 8 or 16 channels, and oneDNN splits rows of more than 256 inputs into blocks, which
shifts the pairs where a block is odd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.quantized import dynamic as nnqd

from qreg.data.inputs import Inputs, call
from qreg.quantization.reference import Layout, PairSums, conv2d_in_pairs, linear_in_pairs
from qreg.records.measurement import LayerSaturation

Codes = npt.NDArray[np.int64]
#: The pair layout of each engine on a CPU without VNNI; qnnpack does not add in pairs.
KERNELS: dict[str, Layout] = {
    "x86": "fbgemm",
    "fbgemm": "fbgemm",
    "onednn": "onednn",
    "onnxruntime": "fbgemm",  # of its convolutions; see qreg.artifacts.saturation
}


@dataclass(frozen=True)
class LayerInput:
    """The input of a quantized layer.

    Attributes:
        codes: uint8 codes of the activations, as integers.
        zero_point: zero point of the activations.
    """

    codes: Codes
    zero_point: int

    def halved(self) -> LayerInput:
        """The same activations with steps twice as wide, as ``reduce_range`` would encode them.

        Zero stays exact. An activation outside the observed range keeps a code above 127 in a
        model with ``reduce_range``: torch clamps to the range of the dtype.
        """
        zero_point = self.zero_point // 2
        steps = np.rint((self.codes - self.zero_point) / 2).astype(np.int64)
        return LayerInput(np.clip(steps + zero_point, 0, 255), zero_point)


def audit_saturation(
    model: nn.Module, batches: Iterable[Inputs], *, engine: str
) -> tuple[LayerSaturation, ...]:
    """Count overflows in every quantized convolution and linear layer of a model.

    Args:
        model: quantized, in evaluation mode, for the current engine.
        batches: model inputs.
        engine: the engine whose kernels are simulated.

    Returns:
        Two records per layer, in execution order: as it is, and with half as many steps.
    """
    layout = KERNELS.get(engine)
    totals: dict[tuple[str, bool], LayerSaturation] = {}

    def count(name: str, layer: nn.Module, layer_input: LayerInput) -> None:
        for halved in (False, True):
            data = layer_input.halved() if halved else layer_input
            found = _count(LayerSaturation(name, halved), layer, data, layout)
            key = (name, halved)
            totals[key] = totals[key] + found if key in totals else found

    with torch.no_grad(), observed(model, count):
        for batch in batches:
            call(model, batch)
    return tuple(totals.values())


def _count(
    record: LayerSaturation, layer: nn.Module, layer_input: LayerInput, layout: Layout | None
) -> LayerSaturation:
    above = int(np.count_nonzero(layer_input.codes > 127))
    record = replace(record, codes=layer_input.codes.size, codes_above_127=above)
    if layout is None:
        return record
    sums = pair_sums(layer, layer_input, layout)
    return replace(
        record,
        pairs=sums.accumulators.size * sums.pairs,
        overflows=int(sums.overflows.sum()),
        outputs=sums.accumulators.size,
        outputs_hit=int(np.count_nonzero(sums.overflows)),
    )


def pair_sums(layer: Any, layer_input: LayerInput, layout: Layout) -> PairSums:
    """The sums that a kernel without VNNI accumulates in this layer."""
    weight = layer.weight().int_repr().numpy()
    if isinstance(layer, nnq.Linear):
        rows = layer_input.codes.reshape(-1, layer_input.codes.shape[-1])
        return linear_in_pairs(rows, weight, zx=layer_input.zero_point)
    return conv2d_in_pairs(
        layer_input.codes,
        weight,
        zx=layer_input.zero_point,
        layout=layout,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


@contextmanager
def observed(model: nn.Module, see: Callable[[str, nn.Module, LayerInput], None]) -> Iterator[None]:
    """Call `see` with the name, module and input of each quantized layer that runs."""

    def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda layer, inputs: see(name, layer, layer_input(layer, inputs[0]))

    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, (nnq.Linear, nnq.Conv2d))]
    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def layer_input(layer: nn.Module, x: torch.Tensor) -> LayerInput:
    """The input codes of a layer; a dynamic layer quantizes its float input itself."""
    if not isinstance(layer, nnqd.Linear):
        return LayerInput(x.int_repr().numpy().astype(np.int64), int(x.q_zero_point()))
    # as in the module itself: the input's range, with one bit less
    scale, zero_point = torch.ops.aten._choose_qparams_per_tensor(x, True)
    q = torch.quantize_per_tensor(x, scale, zero_point, torch.quint8)
    return LayerInput(q.int_repr().numpy().astype(np.int64), int(zero_point))
