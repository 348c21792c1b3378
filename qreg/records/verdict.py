"""Verdicts: frozen records of tuples.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.budget import BudgetCheck
from qreg.records.case import Case, Failure
from qreg.records.shown import Shown


class Outcome(Enum):
    """The outcome of a judgement. Only PASS is silent."""

    PASS = "PASS"
    IMPROVED = "IMPROVED"
    NO_BASELINE = "NO_BASELINE"
    INCONCLUSIVE = "INCONCLUSIVE"
    INCOMPARABLE = "INCOMPARABLE"
    REGRESSED = "REGRESSED"
    ERROR = "ERROR"

    @property
    def severity(self) -> int:
        """Higher is worse."""
        return list(Outcome).index(self)

    @property
    def fails(self) -> bool:
        """Whether it fails a run; with ``--qreg-strict`` all but PASS do."""
        return self in (Outcome.INCOMPARABLE, Outcome.REGRESSED, Outcome.ERROR)


class Check(Enum):
    """The check that made a finding."""

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
    CONVERSION = "conversion"
    TRAINING = "training"
    BUDGET = "budget"
    FILE = "file"


@dataclass(frozen=True)
class Basis:
    """The basis of a verdict.

    Attributes:
        exact: the environment is the same, so that every bit is compared; else statistically.
        reason: as text: "recorded on torch 2.14.1 ..., now 2.15.0 ...: judged statistically".
    """

    exact: bool
    reason: str


@dataclass(frozen=True)
class Finding:
    """A deviation from the baseline.

    Attributes:
        expected, observed, allowed: as text, with units.
        where: the layer, operator or samples.
        p_value: of the test it is based on, None without a test.
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
            logits are not stored.
    """

    index: int
    label: int
    expected: int
    observed: int
    expected_margin: float | None
    observed_margin: float | None


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracy compared with the baseline's, on the common samples.

    Attributes:
        won, lost: number of samples that became right, and wrong.
        change, low, high: change of accuracy, as a share, with its interval.
        p_value: of the exact one-sided McNemar test for a drop.
        detectable: the smallest detectable drop, as a share.
        margin: the largest tolerated drop, as a share.
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
    """A task's summary compared with the baseline's, on the common samples.

    Attributes:
        summary, unit: "mean IoU", "%" (of a share).
        test: the test of the p-values: "exact McNemar", "sign-flip", "permutation".
        expected, observed: the summary.
        change, low, high: observed minus expected, with its interval, in the summary's direction.
        typical, typical_low, typical_high: of the scores: Hodges and Lehmann's estimate of one
            sample's change, with its interval.
        worse, better: number of samples whose score became worse, and better.
        p_value, p_better: one-sided, for becoming worse, and better, by more than `floor`.
        floor: the change that other kernels may cause.
        detectable: the smallest detectable worsening.
        margin: the largest tolerated worsening.
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
    """The speed-up over fp32 compared with the promise, in natural logs.

    Attributes:
        observed: of the fastest measurement.
        looks: number of measurements: repeated where suspicious.
        p_value: one-sided, for being slower than allowed.
    """

    expected: float
    observed: float
    looks: int
    p_value: float


@dataclass(frozen=True)
class Verdict(Shown):
    """The verdict on a case.

    Attributes:
        basis: None where there was no baseline.
        weights: source and digest of the weights, as text.
        findings: the worst first.
        moved: flips between baseline and measurement.
        p_values: one-sided, for a drop of accuracy and of agreement with fp32.
        score: None for classification, which `accuracy` covers.
        layer: the first diverging layer, "" where none was found.
        promise: None where nothing is promised or it was not measured.
        notes: remarks for the reader other than findings.
        data_notes: what was done to samples and outputs; it holds whatever the outcome, and is
            said of a PASS too.
        budget: the limits of the owner's budget; () where there is none.
        unchanged: it was not judged now, but when all that determines it was equal.
    """

    _html = "qreg.report.notebook:verdict_html"

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
    layer: str = ""
    data_notes: tuple[str, ...] = ()
    budget: tuple[BudgetCheck, ...] = ()
    unchanged: bool = False


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
