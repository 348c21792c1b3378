"""How often 16-bit pair accumulation overflows, layer by layer, on a CPU without VNNI.

Counted from weights and activations with the integer oracle, so on any CPU. For one kernel the
layout of pairs is known only in part: fbgemm has kernels of its own for convolutions in groups
of 4, 8 or 16 channels, and oneDNN splits rows of more than 256 inputs into blocks, which shifts
the pairs where a block is odd. There the counts are an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.quantized import dynamic as nnqd

from qreg.quantization.reference import Layout, PairSums, conv2d_in_pairs, linear_in_pairs
from qreg.records import LayerSaturation

Codes = npt.NDArray[np.int64]
Bits = Literal[7, 8]
#: The kernel whose pairs an engine adds on a CPU without VNNI; qnnpack adds none in pairs.
KERNELS: dict[str, Layout] = {"x86": "fbgemm", "fbgemm": "fbgemm", "onednn": "onednn"}


@dataclass(frozen=True)
class LayerInput:
    """What a quantized layer was given.

    Attributes:
        codes: uint8 codes of the activations, as integers.
        zero_point: of the activations.
        bits: 7 if no code above 127 was seen, as with ``reduce_range``, else 8.
    """

    codes: Codes
    zero_point: int

    @property
    def bits(self) -> Bits:
        return 8 if self.codes.size and int(self.codes.max()) > 127 else 7


def audit_saturation(
    model: nn.Module, images: Iterable[torch.Tensor], *, engine: str
) -> tuple[LayerSaturation, ...]:
    """Count overflows in every quantized convolution and linear layer of a model.

    Args:
        model: quantized, in evaluation mode, run under the engine that is current.
        images: model inputs, float32 (N, 3, H, W).
        engine: whose kernel is predicted.

    Returns:
        One record a layer and number of activation bits, in the order layers are first run.
        The bits that the model does not use are counted with its activations coded anew.
    """
    layout = KERNELS.get(engine)
    totals: dict[tuple[str, Bits], LayerSaturation] = {}

    def count(name: str, layer: nn.Module, given: LayerInput) -> None:
        for bits in (8, 7):
            key = (name, bits)
            found = _count(name, layer, given, bits, layout)
            totals[key] = totals[key] + found if key in totals else found

    with torch.no_grad(), observed(model, count):
        for batch in images:
            model(batch)
    return tuple(totals.values())


def _count(
    name: str, layer: nn.Module, given: LayerInput, bits: Bits, layout: Layout | None
) -> LayerSaturation:
    record = LayerSaturation(layer=name, bits=bits, as_quantized=bits == given.bits)
    if layout is None:
        return record
    sums = pair_sums(layer, recoded(given, bits), layout)
    return replace(
        record,
        pairs=sums.accumulators.size * sums.pairs,
        overflows=int(sums.overflows.sum()),
        outputs=sums.accumulators.size,
        outputs_hit=int(np.count_nonzero(sums.overflows)),
    )


def recoded(given: LayerInput, bits: Bits) -> LayerInput:
    """The same activations in another number of bits, as ``reduce_range`` would code them."""
    if bits == given.bits:
        return given
    now, wanted = 2**given.bits - 1, 2**bits - 1
    zero_point = round(given.zero_point * wanted / now)
    steps = np.rint((given.codes - given.zero_point) * (wanted / now)).astype(np.int64)
    return LayerInput(np.clip(steps + zero_point, 0, wanted), zero_point)


def pair_sums(layer: Any, given: LayerInput, layout: Layout) -> PairSums:
    """What a kernel without VNNI accumulates in this layer."""
    weight = layer.weight().int_repr().numpy()
    if isinstance(layer, nnq.Linear):
        rows = given.codes.reshape(-1, given.codes.shape[-1])
        return linear_in_pairs(rows, weight, zx=given.zero_point)
    return conv2d_in_pairs(
        given.codes,
        weight,
        zx=given.zero_point,
        layout=layout,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


@contextmanager
def observed(
    model: nn.Module, see: Callable[[str, nn.Module, LayerInput], None]
) -> Iterator[None]:
    """Call `see` with each quantized layer's name, the layer and its input, when it runs."""

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
    """The codes a layer computes with: as they come, or a dynamic layer's own."""
    if not isinstance(layer, nnqd.Linear):
        return LayerInput(x.int_repr().numpy().astype(np.int64), int(x.q_zero_point()))
    # The module's own call: its input's range, with one bit less.
    scale, zero_point = torch.ops.aten._choose_qparams_per_tensor(x, True)
    q = torch.quantize_per_tensor(x, scale, zero_point, torch.quint8)
    return LayerInput(q.int_repr().numpy().astype(np.int64), int(zero_point))
