"""A deprecated method beside its successors: frozen records of tuples, checked when made.

Only the standard library and the records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qreg.records.case import Case, Failure
from qreg.records.measurement import Agreement, Latency, Measurement
from qreg.records.numerics import Work


class Fate(Enum):
    """What becomes of a model when a successor replaces the deprecated method."""

    SAME = "same numbers"
    NOISE = "within noise"
    GAINED = "accuracy gained"
    LOST = "accuracy lost"
    NOTHING = "nothing quantized"
    UNAVAILABLE = "not available"
    FAILED = "failed"


#: What a successor was measured and found fit as.
FIT = (Fate.SAME, Fate.NOISE, Fate.GAINED)


@dataclass(frozen=True)
class Candidate:
    """A case that was measured, with the work it does."""

    measurement: Measurement
    work: Work


@dataclass(frozen=True)
class Replacement:
    """A successor beside the deprecated method it replaces, on the same images.

    Attributes:
        case, replaced: the successor's and the deprecated method's.
        reason: why it is not available, failed, or has nothing quantized.
        before, after: the code to replace, and the code that replaces it.
        calls, new_calls: how the functions of each are called, in their order.
        beside: its predictions beside the deprecated method's; None where either is missing.
        level: of the exact two-sided McNemar test; it is shared out among a run's pairs.
        detectable: the smallest drop, as a share, that is found at this level with 80 % power.
        latencies: `speed_up` is over the deprecated method.
        moved: the first layer whose quantization is another than the deprecated method's.
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

    def __post_init__(self) -> None:
        measured = self.fate not in (Fate.UNAVAILABLE, Fate.FAILED)
        if measured != (self.beside is not None):
            raise ValueError(f"{self.case} is {self.fate.value} with {self.beside}")


@dataclass(frozen=True)
class Migration:
    """All that was found of one model.

    Attributes:
        candidates: that were measured: fp32 first, each deprecated method before its successors.
        failures: of the other cases.
    """

    candidates: tuple[Candidate, ...]
    failures: tuple[Failure, ...]
    replacements: tuple[Replacement, ...]

    @property
    def fit(self) -> bool:
        """Whether some successor was measured, and all that can run here are fit."""
        fates = [one.fate for one in self.replacements if one.fate is not Fate.UNAVAILABLE]
        return bool(fates) and all(fate in FIT for fate in fates)
