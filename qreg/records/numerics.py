"""The numerics of a case, bit by bit: frozen records of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from qreg.records.codes import as_codes

#: SQNR of a layer that equals its float counterpart: beyond the resolution of float32.
EQUAL_DB = 200.0


@dataclass(frozen=True)
class Images:
    """Which samples were seen, in canonical order.

    Attributes:
        index: canonical index of each.
        labels: class of each, () where the task has no class labels; kept as `Codes`.
        digests: CRC-32 of the content of each.
    """

    index: tuple[int, ...]
    labels: Sequence[int]
    digests: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", as_codes(self.labels))
        if not len(self.index) == len(self.digests) > 0:
            raise ValueError(f"{len(self.index)} samples with {len(self.digests)} digests")
        if self.labels and len(self.labels) != len(self.index):
            raise ValueError(f"{len(self.index)} samples with {len(self.labels)} labels")
        if any(map(operator.ge, self.index, self.index[1:])):
            raise ValueError("canonical indices are not ascending")

    def __hash__(self) -> int:
        # a few samples distinguish test sets; equality compares all of them
        return hash((len(self.index), self.index[-1], self.digests[:4]))


@dataclass(frozen=True)
class Logits:
    """Outputs of `count` samples: logits, or numbers of each sample's outputs.

    Attributes:
        classes: how many numbers are kept of a sample.
        values: little-endian float32, row-major (count, classes).
        elements: how many numbers a sample's outputs have, where not all are kept; else 0.
        rows: positions of the samples among all that were seen, () for the first `count`.
    """

    count: int
    classes: int
    values: bytes
    elements: int = 0
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1 or len(self.values) != 4 * self.count * self.classes:
            raise ValueError(f"{len(self.values)} bytes for {self.count} x {self.classes} logits")
        if self.rows and len(self.rows) != self.count:
            raise ValueError(f"{len(self.rows)} rows for logits of {self.count} samples")

    @property
    def positions(self) -> Sequence[int]:
        """Positions of the samples among all that were seen."""
        return self.rows or range(self.count)

    @property
    def digest(self) -> str:
        """sha256 of the values."""
        return hashlib.sha256(self.values).hexdigest()


@dataclass(frozen=True)
class Quantizer:
    """Quantization parameters of a tensor: scale and zero point, per tensor or per channel."""

    qscheme: str
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.scales) == len(self.zero_points) > 0:
            raise ValueError(f"{len(self.scales)} scales, {len(self.zero_points)} zero points")


@dataclass(frozen=True)
class Layer:
    """A layer of a case, as run on the first samples.

    Attributes:
        name: the module's name in the float model.
        kind: the module's class, for example ``quantized.ConvReLU2d``.
        weight: its weight's quantization, None where the weight is float or absent.
        weight_digest: of the weight's codes (or floats), "" without a weight.
        bias_digest: of the bias, "" without one.
        output: its output's quantization, None where the output is float.
        output_digest: of its output.
        sqnr_db: signal-to-quantization-noise ratio of the output relative to the float model with
            the same weights, in dB; None where that has no such layer, `EQUAL_DB` where equal.
    """

    name: str
    kind: str
    weight: Quantizer | None
    weight_digest: str
    bias_digest: str
    output: Quantizer | None
    output_digest: str
    sqnr_db: float | None

    def __post_init__(self) -> None:
        if self.sqnr_db is not None and not math.isfinite(self.sqnr_db):
            raise ValueError(f"SQNR of {self.name} is {self.sqnr_db}")


@dataclass(frozen=True, order=True)
class OperatorCount:
    """The number of runs of an operator, such as ``quantized::conv2d_relu``, in a forward pass."""

    name: str
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"{self.name} ran {self.count} times")


@dataclass(frozen=True)
class Numerics:
    """What the gate compares in addition to accuracy and size.

    Attributes:
        images: identifies all predicted samples.
        logits: of the gate's samples among them.
        single: digest of the logits of the first samples, each run alone.
        reloaded: the same after the model has loaded its own saved state dict.
        reference: digest of fp32's logits of the same samples, "" for fp32 itself.
        disagreements: canonical indices of the samples that fp32 predicts differently.
        layers: in execution order.
        operators: of one forward pass, sorted by name.
    """

    images: Images
    logits: Logits
    single: str
    reloaded: str
    reference: str
    disagreements: tuple[int, ...]
    layers: tuple[Layer, ...]
    operators: tuple[OperatorCount, ...]


@dataclass(frozen=True)
class Work:
    """The operators that compute the layers in one forward pass of one sample.

    Attributes:
        int8: operators on codes.
        floating: operators on floats.
        converting: number of separate quantize and dequantize operators.
        quantized: whether anything is quantized.
    """

    int8: tuple[OperatorCount, ...]
    floating: tuple[OperatorCount, ...]
    converting: int
    quantized: bool

    @property
    def simulated(self) -> bool:
        """Whether int8 is only simulated: float operators on dequantized codes."""
        return self.converting > 0 and not self.int8
