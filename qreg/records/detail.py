"""What a page shows of a case beyond its verdict: frozen records of tuples.

Only the standard library and the other records may be imported here. Nothing here is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.baseline import Approval
from qreg.records.case import Case, Environment
from qreg.records.decode import Signed


class ViewKind(Enum):
    """How one input of a sample is shown."""

    IMAGE = "image"
    WAVE = "wave"
    TEXT = "text"
    HEAT = "heat"


@dataclass(frozen=True)
class View:
    """One input of a sample, small enough for a page.

    Attributes:
        name: of the input, "" for a single one.
        what: dtype and shape as text: ``float32 3 x 32 x 32``.
        data: base64 of a PNG or JPEG (IMAGE, HEAT), or text (TEXT); "" for a WAVE.
        mime: of `data` as an image, "" otherwise.
        low, high: of a WAVE, the smallest and largest value of equal stretches, from -100 to 100.
        note: how the values were changed to be seen, such as "contrast stretched".
    """

    kind: ViewKind
    name: str
    what: str
    data: str = ""
    mime: str = ""
    low: tuple[Signed, ...] = ()
    high: tuple[Signed, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high):
            raise ValueError(f"{len(self.low)} lows and {len(self.high)} highs")


@dataclass(frozen=True)
class SampleDetail:
    """A sample whose prediction or score changed.

    Attributes:
        label: name of its class, "" where it has none.
        expected, observed: prediction or score, in the baseline and now, as text.
        expected_margin, observed_margin: see `qreg.records.verdict.MovedImage`.
        worse: from right to wrong, or to a worse score; None: wrong before and now.
    """

    index: int
    label: str
    expected: str
    observed: str
    expected_margin: float | None
    observed_margin: float | None
    worse: bool | None
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class LayerSqnr:
    """The SQNR of a layer in dB, None where it is unknown, in the baseline and now."""

    name: str
    kind: str
    before: float | None
    now: float | None


@dataclass(frozen=True)
class InFloat:
    """The SQNR of a file's outputs in dB, as it is and with one layer computed in float."""

    layer: str
    before: float
    now: float


@dataclass(frozen=True)
class Histogram:
    """The distribution of a tensor of one layer: of the float model, and quantized.

    Attributes:
        what: "output", "weight".
        start, stop: the range of the bins.
        floating, quantized: counts of equal bins.
        range_now, range_before: the values that the quantization parameters can represent, None
            where they are not known.
        clipped_now, clipped_before: the shares of the float values outside of these ranges.
    """

    layer: str
    what: str
    start: float
    stop: float
    floating: tuple[int, ...]
    quantized: tuple[int, ...]
    range_now: tuple[float, float] | None
    range_before: tuple[float, float] | None
    clipped_now: float | None
    clipped_before: float | None

    def __post_init__(self) -> None:
        if not self.start < self.stop or not len(self.floating) == len(self.quantized) > 0:
            raise ValueError(f"no histogram of {self.layer}: {self.start} to {self.stop}")


@dataclass(frozen=True)
class ClassShift:
    """Right predictions of one class on `total` common samples, in the baseline and now."""

    name: str
    total: int
    before: int
    now: int


@dataclass(frozen=True)
class Confusion:
    """How many samples of a class moved from one prediction to another."""

    label: str
    expected: str
    observed: str
    count: int


@dataclass(frozen=True)
class SizeRow:
    """Stored bytes of the tensors of one layer and dtype, in the baseline and now."""

    layer: str
    dtype: str
    before: int
    now: int


@dataclass(frozen=True)
class EnvironmentChange:
    """A part of the environment that differs from the baseline's."""

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class CaseDetail:
    """What a page shows of a case.

    Attributes:
        measure, unit: what `value` is: "accuracy", "%".
        value, value_before: of all samples; None where unknown.
        file_bytes, file_bytes_before: of the saved state dict; None where unknown.
        speed_up, speed_up_before: fp32's time over the case's, now and as promised.
        samples: the most telling of those that changed; `changed` is the number of all.
        layers: in execution order.
        in_float: of a file, what its diverging layers cost, each computed in float alone.
        where: the environment that it was observed in, None where that is not known.
        notes: what could not be collected, and why.
    """

    case: Case
    measure: str = ""
    unit: str = ""
    value: float | None = None
    value_before: float | None = None
    file_bytes: int | None = None
    file_bytes_before: int | None = None
    speed_up: float | None = None
    speed_up_before: float | None = None
    changed: int = 0
    samples: tuple[SampleDetail, ...] = ()
    layers: tuple[LayerSqnr, ...] = ()
    in_float: tuple[InFloat, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    classes: tuple[ClassShift, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    sizes: tuple[SizeRow, ...] = ()
    environment: tuple[EnvironmentChange, ...] = ()
    approvals: tuple[Approval, ...] = ()
    where: Environment | None = None
    notes: tuple[str, ...] = ()
