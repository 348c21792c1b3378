"""Measurements of a case: frozen records of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.case import Case, Environment
from qreg.records.score import Score
from qreg.records.shown import Shown
from qreg.records.verdict import ScoreChange


@dataclass(frozen=True)
class ClassAccuracy:
    """Number of correctly predicted samples of one class."""

    name: str
    correct: int
    total: int


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on the test samples.

    Attributes:
        low, high: the 95 % Wilson score interval of correct / total.
        index, predictions: canonical index and predicted class of every sample.
    """

    correct: int
    total: int
    low: float
    high: float
    classes: tuple[ClassAccuracy, ...]
    index: tuple[int, ...]
    predictions: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total or self.total == 0:
            raise ValueError(f"{self.correct} correct of {self.total}")
        if not len(self.index) == len(self.predictions) == self.total:
            raise ValueError(f"{len(self.predictions)} predictions for {self.total} images")

    @property
    def share(self) -> float:
        """correct / total."""
        return self.correct / self.total


@dataclass(frozen=True)
class Flip:
    """A sample whose predicted class differs from the reference's."""

    index: int
    label: int
    reference: int
    observed: int


@dataclass(frozen=True)
class Agreement:
    """The predictions compared with another method's on the same samples.

    Attributes:
        reference: the method compared with.
        change: accuracy minus the reference's, as a share.
        low, high: the paired 95 % confidence interval of `change`.
        p_value: of the exact two-sided McNemar test.
        detectable: the smallest detectable drop, as a share: one-sided, at a level of 5 %, with
            80 % power.
        flips: by canonical index.
    """

    reference: str
    change: float
    low: float
    high: float
    p_value: float
    detectable: float
    flips: tuple[Flip, ...]

    @property
    def lost(self) -> int:
        """Flips from right to wrong."""
        return sum(flip.reference == flip.label for flip in self.flips)

    @property
    def won(self) -> int:
        """Flips from wrong to right."""
        return sum(flip.observed == flip.label for flip in self.flips)


class Role(Enum):
    """The role of a stored tensor in its layer."""

    WEIGHT = "weight"  # of two dimensions or more
    BIAS = "bias"
    OTHER = "other"


_FLOAT = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class TensorSize:
    """One stored tensor.

    Attributes:
        layer: the module's name in the float model.
        bytes: elements times element size, without a quantized tensor's scales.
    """

    layer: str
    role: Role
    dtype: str
    elements: int
    bytes: int

    @property
    def is_float_weight(self) -> bool:
        """Whether it is a weight, and not quantized."""
        return self.role is Role.WEIGHT and self.dtype in _FLOAT


@dataclass(frozen=True)
class Size:
    """The size of a model.

    Attributes:
        file_bytes: of the saved state dict, including the container.
        weight_bytes: of the weights alone, which is independent of the PyTorch version.
        float_layers: convolutions and linear layers whose weights are not int8.
    """

    file_bytes: int
    weight_bytes: int
    tensors: tuple[TensorSize, ...]
    float_layers: tuple[str, ...]

    @property
    def float_weights(self) -> tuple[TensorSize, ...]:
        """The weights that are not quantized."""
        return tuple(one for one in self.tensors if one.is_float_weight)


@dataclass(frozen=True)
class Latency:
    """Time of a forward pass.

    Attributes:
        median_ms, p5_ms, p95_ms: milliseconds per sample, over `calls` calls.
        speed_up: the reference's time over this one's: the median over interleaved blocks.
    """

    batch_size: int
    threads: int
    calls: int
    median_ms: float
    p5_ms: float
    p95_ms: float
    speed_up: float


@dataclass(frozen=True)
class Measurement(Shown):
    """All measurements of one case in one environment.

    Attributes:
        checkpoint: identifies the weights; see `qreg.records.weights.Weights.text`.
        calibration: canonical indices of the calibration samples.
        data_fingerprint: sha256 over indices, labels and content of the test samples.
        accuracy: None where the task has no class labels.
        agreements: with fp32 and the method's control, for classification.
        warnings: distinct texts emitted while the model was built and run.
        score: what the task says; None for classification.
        score_changes: relative to the same methods as `agreements`, by their names.
        notes: what was done to samples that are not as others, and to outputs that are no class's.
    """

    _html = "qreg.report.notebook:measurement_html"

    case: Case
    environment: Environment
    checkpoint: str
    calibration: tuple[int, ...]
    data_fingerprint: str
    accuracy: Accuracy | None
    agreements: tuple[Agreement, ...]
    size: Size
    latencies: tuple[Latency, ...]
    warnings: tuple[str, ...]
    score: Score | None = None
    score_changes: tuple[tuple[str, ScoreChange], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerSaturation:
    """How often sums of two int8 products overflow 16 bits in a layer without VNNI.

    Attributes:
        halved: whether activations have half as many steps, as with ``reduce_range``.
        pairs: number of sums of two products.
        overflows: number of them that overflow.
        outputs: number of outputs.
        outputs_hit: number of outputs with an overflow in their sum.
        codes: number of activations.
        codes_above_127: number of them whose code needs the eighth bit.
    """

    layer: str
    halved: bool
    pairs: int = 0
    overflows: int = 0
    outputs: int = 0
    outputs_hit: int = 0
    codes: int = 0
    codes_above_127: int = 0

    def __post_init__(self) -> None:
        parts = (self.overflows, self.outputs_hit, self.codes_above_127)
        wholes = (self.pairs, self.outputs, self.codes)
        if not all(0 <= part <= whole for part, whole in zip(parts, wholes, strict=True)):
            raise ValueError(f"counts of {self.layer} contradict each other: {self}")

    def __add__(self, other: LayerSaturation) -> LayerSaturation:
        """The sum of two counts of the same layer on different samples."""
        if (self.layer, self.halved) != (other.layer, other.halved):
            raise ValueError(f"{self.layer} and {other.layer} are not counts of one thing")
        return LayerSaturation(
            layer=self.layer,
            halved=self.halved,
            pairs=self.pairs + other.pairs,
            overflows=self.overflows + other.overflows,
            outputs=self.outputs + other.outputs,
            outputs_hit=self.outputs_hit + other.outputs_hit,
            codes=self.codes + other.codes,
            codes_above_127=self.codes_above_127 + other.codes_above_127,
        )
