"""What a case computes, bit for bit: frozen records of tuples, checked when made.

Only the standard library may be imported here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

#: SQNR of a layer that equals its float counterpart: more than float32 can tell apart.
EQUAL_DB = 200.0


@dataclass(frozen=True)
class Images:
    """Which samples were seen, in canonical order.

    Attributes:
        index: canonical index of each.
        labels: class of each, () where the task has no class labels.
        digests: CRC-32 of the content of each.
    """

    index: tuple[int, ...]
    labels: tuple[int, ...]
    digests: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.index) == len(self.digests) > 0:
            raise ValueError(f"{len(self.index)} samples with {len(self.digests)} digests")
        if self.labels and len(self.labels) != len(self.index):
            raise ValueError(f"{len(self.index)} samples with {len(self.labels)} labels")
        if any(a >= b for a, b in zip(self.index, self.index[1:], strict=False)):
            raise ValueError("canonical indices are not ascending")

    def __hash__(self) -> int:
        # of ten thousand images a few tell test sets apart; equality looks at all
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
    """Quantization parameters of one tensor: one scale and zero point, or one a channel."""

    qscheme: str
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.scales) == len(self.zero_points) > 0:
            raise ValueError(f"{len(self.scales)} scales, {len(self.zero_points)} zero points")


@dataclass(frozen=True)
class Layer:
    """One layer of a case, as it was run on the first images.

    Attributes:
        name: the module's name in the float model.
        kind: the module's class, ``quantized.ConvReLU2d`` for example.
        weight: its weight's quantization, None where the weight is float or absent.
        weight_digest: of the weight's codes (or floats), "" without a weight.
        bias_digest: of the bias, "" without one.
        output: its output's quantization, None where the output is float.
        output_digest: of its output.
        sqnr_db: signal-to-quantization-noise ratio of the output against the float model of the
            same weights, in dB; None where that has no such layer, `EQUAL_DB` where both agree.
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
    """How often an operator ran in one forward pass, ``quantized::conv2d_relu`` for example."""

    name: str
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"{self.name} ran {self.count} times")


@dataclass(frozen=True)
class Numerics:
    """What the gate looks at beside accuracy and size.

    Attributes:
        images: all that were predicted.
        logits: of the gate's images among them.
        single: digest of the logits of the first images, each run alone.
        reloaded: the same after the model has loaded its own saved state dict.
        reference: digest of fp32's logits of the same images, "" for fp32 itself.
        disagreements: canonical indices of the images that fp32 predicts differently.
        layers: in the order they ran.
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
    """The layers' work in one forward pass of one image, by what computes it.

    Attributes:
        int8: operators on codes.
        floating: operators on floats.
        converting: how often floats were made codes or codes floats, in operators of their own.
        quantized: whether anything is: no successor may leave all as it was.
    """

    int8: tuple[OperatorCount, ...]
    floating: tuple[OperatorCount, ...]
    converting: int
    quantized: bool

    @property
    def simulated(self) -> bool:
        """The numbers of int8 without its kernels: floats that were rounded to codes."""
        return self.converting > 0 and not self.int8
