"""Records of a deprecated method and its successors: frozen, of tuples, checked on construction.

Only the standard library and the records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.case import Case, Failure
from qreg.records.measurement import Agreement, Latency, Measurement
from qreg.records.numerics import Work
from qreg.records.verdict import ScoreChange


class Fate(Enum):
    """The result of replacing a deprecated method by a successor."""

    SAME = "same numbers"
    NOISE = "within noise"
    GAINED = "accuracy gained"
    LOST = "accuracy lost"
    NOTHING = "nothing quantized"
    UNAVAILABLE = "not available"
    FAILED = "failed"


#: Results with which a successor can replace the deprecated method.
FIT = (Fate.SAME, Fate.NOISE, Fate.GAINED)


@dataclass(frozen=True)
class Candidate:
    """A measured case, with the operators that compute its layers."""

    measurement: Measurement
    work: Work


@dataclass(frozen=True)
class Replacement:
    """A successor compared with the deprecated method it replaces, on the same samples.

    Attributes:
        case, replaced: of the successor and of the deprecated method.
        reason: why it is not available, failed, or quantizes nothing.
        before, after: the old code, and the code that replaces it.
        calls, new_calls: the calls of each code's functions, in order.
        beside: agreement with the deprecated method's predictions; None where either is missing.
        level: of the exact two-sided McNemar test, after correction for a run's pairs.
        detectable: the smallest accuracy drop, as a share, detectable at this level with 80 %
            power.
        latencies: their `speed_up` is relative to the deprecated method.
        moved: the first layer that is quantized differently from the deprecated method's.
        score: the change of a task's score; None for classification, which `beside` covers.
    """

    case: Case
    replaced: Case
    fate: Fate
    reason: str
    before: str
    after: str
    calls: tuple[str, ...]
    new_calls: tuple[str, ...]
    beside: Agreement | None = None
    level: float = 0.0
    detectable: float = 0.0
    latencies: tuple[Latency, ...] = ()
    moved: str = ""
    score: ScoreChange | None = None

    def __post_init__(self) -> None:
        measured = self.fate not in (Fate.UNAVAILABLE, Fate.FAILED)
        if measured != self.compared:
            raise ValueError(f"{self.case} is {self.fate.value} with {self.beside}")

    @property
    def compared(self) -> bool:
        """Whether both were measured."""
        return self.beside is not None or self.score is not None


@dataclass(frozen=True)
class Migration:
    """The results for one model.

    Attributes:
        candidates: the measured cases: fp32 first, each deprecated method before its successors.
        failures: the other cases.
    """

    candidates: tuple[Candidate, ...]
    failures: tuple[Failure, ...]
    replacements: tuple[Replacement, ...]

    @property
    def fit(self) -> bool:
        """Whether a successor was measured and all that this machine can run are fit."""
        fates = [one.fate for one in self.replacements if one.fate is not Fate.UNAVAILABLE]
        return bool(fates) and all(fate in FIT for fate in fates)
