"""Verdicts: frozen records of tuples.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.case import Case, Failure


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
    SCORE = "score"
    AGREEMENT = "agreement"
    LOGITS = "logits"
    STORAGE = "storage"
    SIZE = "size"
    OPERATORS = "operators"
    PARAMETERS = "parameters"
    LAYERS = "layers"
    SATURATION = "saturation"
    WARNINGS = "warnings"
    SPEED_UP = "speed-up"


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
class ScoreChange:
    """A task's summary beside the baseline's, on the samples both have.

    Attributes:
        summary, unit: "mean IoU", "%": of a share.
        test: what the p-values are of: "exact McNemar", "sign-flip", "permutation".
        expected, observed: the summary.
        change, low, high: observed minus expected, with its interval, in the summary's direction.
        typical, typical_low, typical_high: of the scores: Hodges and Lehmann's estimate of one
            sample's change, with its interval.
        worse, better: samples whose score fell, and rose, whichever direction is better.
        p_value, p_better: one-sided, of having become worse, and better, by more than `floor`.
        floor: the change that other kernels make, which is nobody's fault.
        detectable: the smallest worsening that would have been found.
        margin: the largest worsening that may go by.
    """

    task: str
    summary: str
    unit: str
    higher_is_better: bool
    test: str
    total: int
    expected: float
    observed: float
    change: float
    low: float
    high: float
    typical: float
    typical_low: float
    typical_high: float
    worse: int
    better: int
    p_value: float
    p_better: float
    floor: float
    detectable: float
    margin: float


@dataclass(frozen=True)
class PromiseCheck:
    """Speed-up over fp32 beside the promise's; natural logs.

    Attributes:
        observed: of the fastest look.
        looks: how often it was measured: again where it was suspicious.
        p_value: one-sided: of being slower than may be.
    """

    expected: float
    observed: float
    looks: int
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """The judgement of a case.

    Attributes:
        basis: None where there was nothing to judge against.
        weights: where they are from, and their digest, in words.
        findings: the worst first.
        moved: flips between baseline and measurement.
        p_values: one-sided, of "accuracy is what it was" and "fp32 is followed as it was".
        score: None where the task is right or wrong of a class: `accuracy` is of that.
        promise: None where nothing is promised, or it was not looked at.
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
    promise: PromiseCheck | None = None
    score: ScoreChange | None = None
    weights: str = ""


@dataclass(frozen=True)
class CaseResult:
    """What judging a case came to, as it travels between processes: one of the two.

    Attributes:
        failure: this machine lacks what the case needs.
        no_data: it is the dataset that is missing.
    """

    verdict: Verdict | None = None
    failure: Failure | None = None
    no_data: bool = False

    def __post_init__(self) -> None:
        if (self.verdict is None) == (self.failure is None):
            raise ValueError("a verdict or a failure")
