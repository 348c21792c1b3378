"""Baselines and verdicts: frozen records of tuples, checked when made.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import Enum

from qreg.numerics import Numerics
from qreg.observations import Size
from qreg.records import Case, Environment


class Outcome(Enum):
    """What a judgement says. Only PASS is silent."""

    PASS = "PASS"
    IMPROVED = "IMPROVED"
    NO_BASELINE = "NO_BASELINE"
    INCONCLUSIVE = "INCONCLUSIVE"
    INCOMPARABLE = "INCOMPARABLE"
    REGRESSED = "REGRESSED"
    ERROR = "ERROR"

    @property
    def severity(self) -> int:
        """The higher the worse."""
        return list(Outcome).index(self)

    @property
    def fails(self) -> bool:
        """Whether it fails a run; with ``--qreg-strict`` all but PASS do."""
        return self in (Outcome.INCOMPARABLE, Outcome.REGRESSED, Outcome.ERROR)


class Check(Enum):
    """What a finding is about."""

    IMAGES = "images"
    WEIGHTS = "weights"
    CALIBRATION = "calibration"
    ACCURACY = "accuracy"
    AGREEMENT = "agreement"
    LOGITS = "logits"
    STORAGE = "storage"
    SIZE = "size"
    OPERATORS = "operators"
    PARAMETERS = "parameters"
    LAYERS = "layers"
    SATURATION = "saturation"
    WARNINGS = "warnings"


@dataclass(frozen=True)
class Snapshot:
    """What a baseline keeps of a measurement.

    Attributes:
        checkpoint: sha256 of the weights' file, "" where a factory brought them.
        calibration: canonical training indices whose ranges were observed.
        correct: how many of the images were predicted right.
        predictions: predicted class of each of `numerics.images`.
        warnings: distinct texts, addresses and folders taken out.
    """

    case: Case
    environment: Environment
    checkpoint: str
    calibration: tuple[int, ...]
    correct: int
    predictions: tuple[int, ...]
    size: Size
    numerics: Numerics
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        images = self.numerics.images
        if len(self.predictions) != len(images.index):
            raise ValueError(f"{len(self.predictions)} predictions, {len(images.index)} images")
        # a thousand baselines of ten thousand images are read in a second
        right = sum(map(operator.eq, self.predictions, images.labels))
        if right != self.correct:
            raise ValueError(f"{self.correct} recorded as correct, {right} are")


@dataclass(frozen=True)
class Replaced:
    """What an approval replaced.

    Attributes:
        outcome: the verdict on the new measurement against the old baseline.
        correct, total: the old baseline's, on the images that both have.
        new_correct: the new measurement's, on the same images.
        flips: how many of their predictions differ.
        p_value: exact McNemar, two-sided.
    """

    outcome: Outcome
    correct: int
    new_correct: int
    total: int
    flips: int
    p_value: float


@dataclass(frozen=True)
class Approval:
    """Who said so: why, when (ISO 8601, UTC), at which commit ("" outside git)."""

    reason: str
    date: str
    commit: str
    qreg: str
    replaced: Replaced | None = None


@dataclass(frozen=True)
class Baseline:
    """A measurement that a person approved; `history` holds the approvals, the latest last."""

    snapshot: Snapshot
    history: tuple[Approval, ...]

    def __post_init__(self) -> None:
        if not self.history:
            raise ValueError("a baseline without an approval")


@dataclass(frozen=True)
class Basis:
    """What a verdict was judged against.

    Attributes:
        exact: the same environment, so that every bit is compared; else statistically.
        reason: in words, "recorded on torch 2.14.1 ..., now 2.15.0 ...: judged statistically".
    """

    exact: bool
    reason: str


@dataclass(frozen=True)
class Finding:
    """One metric that is not as expected.

    Attributes:
        expected, observed, allowed: in words, with units.
        where: the layer, operator or images.
        p_value: of the test it rests on, None where none was needed.
    """

    check: Check
    outcome: Outcome
    expected: str
    observed: str
    allowed: str
    where: str = ""
    p_value: float | None = None


@dataclass(frozen=True)
class MovedImage:
    """A flip between baseline and measurement.

    Attributes:
        expected, observed: predicted classes.
        expected_margin, observed_margin: highest logit minus the second highest; None where the
            logits were not kept.
    """

    index: int
    label: int
    expected: int
    observed: int
    expected_margin: float | None
    observed_margin: float | None


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracy beside the baseline's, on the images both have.

    Attributes:
        won, lost: images that became right, and wrong.
        change, low, high: of accuracy, as a share, with its interval.
        p_value: exact McNemar, one-sided: of losing.
        detectable: the smallest drop that would have been found, as a share.
        margin: the largest drop that may go by, as a share.
    """

    total: int
    expected: int
    observed: int
    won: int
    lost: int
    change: float
    low: float
    high: float
    p_value: float
    detectable: float
    margin: float


@dataclass(frozen=True)
class Verdict:
    """The judgement of a case.

    Attributes:
        basis: None where there was nothing to judge against.
        findings: the worst first.
        moved: flips between baseline and measurement.
        p_values: one-sided, of "accuracy is what it was" and "fp32 is followed as it was".
        notes: what a reader should know that is not a finding.
    """

    case: Case
    outcome: Outcome
    basis: Basis | None = None
    accuracy: AccuracyChange | None = None
    findings: tuple[Finding, ...] = ()
    moved: tuple[MovedImage, ...] = ()
    p_values: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    details: str = ""
