"""The implementations of affine quantization that the same properties are run against.

Each is given as source text over ``x`` (float32) or ``q`` (codes), ``s``, ``z``, and for
channels ``axis``; ``lo`` and ``hi`` are the ends of the range of codes.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, field

import pytest

QINT8, QUINT8 = (-128, 127), (0, 255)
_DTYPES = {QINT8: ("torch.qint8", "torch.int8"), QUINT8: ("torch.quint8", "torch.uint8")}


@dataclass(frozen=True)
class Implementation:
    """One implementation.

    Attributes:
        needs: a package it needs, "" for torch alone.
        prepare: statements to run first.
        ranges: the ranges of codes it has.
        quantize, dequantize, fake_quantize: expressions for one scale; "" where it shows none.
        channels: the same three for a scale and a zero point for each channel.
        reach: how many steps from zero it keeps to the definition; what it does beyond is in
            `deviations`.
    """

    name: str
    ranges: tuple[tuple[int, int], ...]
    fake_quantize: str
    quantize: str = ""
    dequantize: str = ""
    channels: dict[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    needs: str = ""
    reach: float = math.inf

    def expression(self, what: str, codes: tuple[int, int], *, channels: bool = False) -> str:
        """The expression for `what`, with the dtype of that range of codes."""
        text = self.channels[what] if channels else getattr(self, what)
        quantized, integer = _DTYPES.get(codes, ("", "torch.int8"))
        return text.replace("QDTYPE", quantized).replace("DTYPE", integer)


_T = "torch.tensor([s]), torch.tensor([z], dtype=torch.int32)"
_OPS = "torch.ops.quantized_decomposed"
_AO = "ao.{}quantize_affine({}, {}, {}, {}{})"

TENSORS = Implementation(
    name="torch quantized tensors",
    reach=2.0**30,
    ranges=(QINT8, QUINT8),
    quantize="torch.quantize_per_tensor(x, s, z, QDTYPE).int_repr()",
    dequantize="torch._make_per_tensor_quantized_tensor(q, s, z).dequantize()",
    fake_quantize="torch.quantize_per_tensor(x, s, z, QDTYPE).dequantize()",
    channels={
        "quantize": "torch.quantize_per_channel(x, s, z, axis, QDTYPE).int_repr()",
        "dequantize": "torch._make_per_channel_quantized_tensor(q, s, z, axis).dequantize()",
        "fake_quantize": "torch.quantize_per_channel(x, s, z, axis, QDTYPE).dequantize()",
    },
)
FAKE = Implementation(
    name="torch fake_quantize",
    reach=2.0**62,
    ranges=(QINT8, QUINT8, (0, 127), (-8, 7)),
    fake_quantize="torch.fake_quantize_per_tensor_affine(x, s, z, lo, hi)",
    channels={
        "fake_quantize": "torch.fake_quantize_per_channel_affine(x, s, z.int(), axis, lo, hi)"
    },
)
FAKE_TENSOR_PARAMETERS = Implementation(
    name="torch fake_quantize, tensor parameters",
    reach=2.0**62,
    ranges=(QINT8, QUINT8, (0, 127), (-8, 7)),
    fake_quantize=f"torch.fake_quantize_per_tensor_affine(x, {_T}, lo, hi)",
)
DECOMPOSED = Implementation(
    name="torch quantized_decomposed",
    ranges=(QINT8, QUINT8, (0, 127), (-8, 7)),
    prepare=("import torch.ao.quantization.fx._decomposed",),
    quantize=f"{_OPS}.quantize_per_tensor(x, s, z, lo, hi, DTYPE)",
    dequantize=f"{_OPS}.dequantize_per_tensor(q, s, z, lo, hi, q.dtype)",
    fake_quantize=(
        f"{_OPS}.dequantize_per_tensor({_OPS}.quantize_per_tensor(x, s, z, lo, hi, DTYPE),"
        " s, z, lo, hi, DTYPE)"
    ),
    channels={
        "quantize": f"{_OPS}.quantize_per_channel(x, s, z, axis, lo, hi, DTYPE)",
        "dequantize": f"{_OPS}.dequantize_per_channel(q, s, z, axis, lo, hi, q.dtype)",
        "fake_quantize": (
            f"{_OPS}.dequantize_per_channel("
            f"{_OPS}.quantize_per_channel(x, s, z, axis, lo, hi, DTYPE),"
            " s, z, axis, lo, hi, DTYPE)"
        ),
    },
)
_WHOLE = "tuple(x.shape)"
_EACH = "tuple(n if i != axis else 1 for i, n in enumerate(x.shape))"


def _torchao(block: str, parameters: str) -> dict[str, str]:
    make = f"ao.quantize_affine(x, {block}, {parameters}, DTYPE, lo, hi)"
    back = f"ao.dequantize_affine({{}}, {block}, {parameters}, {{}}, lo, hi)"
    return {
        "quantize": make,
        "dequantize": back.format("q", "q.dtype").replace("x.shape", "q.shape"),
        "fake_quantize": back.format(make, "DTYPE"),
    }


TORCHAO = Implementation(
    name="torchao primitives",
    ranges=(QINT8, QUINT8, (0, 127), (-8, 7)),
    needs="torchao",
    prepare=("import torchao.quantization.quant_primitives as ao",),
    **_torchao(_WHOLE, _T),
    channels=_torchao(_EACH, "s, z"),
)
ALL = (TENSORS, FAKE, FAKE_TENSOR_PARAMETERS, DECOMPOSED, TORCHAO)


def with_(what: str, *, channels: bool = False, reach: float = 0.0) -> pytest.MarkDecorator:
    """Parametrize a test over the implementations that have `what`, and reach that far."""
    having = [i for i in ALL if (i.channels.get(what) if channels else getattr(i, what))]
    having = [i for i in having if i.reach >= reach]
    return pytest.mark.parametrize("implementation", [_present(i) for i in having])


def _present(implementation: Implementation) -> object:
    needs = implementation.needs
    absent = bool(needs) and importlib.util.find_spec(needs) is None
    mark = pytest.mark.skipif(absent, reason=f"{needs} is not installed")
    return pytest.param(implementation, id=implementation.name.replace(" ", "-"), marks=mark)
