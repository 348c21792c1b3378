"""An audit of calibration: frozen records of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from qreg.records.case import Case


@dataclass(frozen=True)
class DrawResult:
    """One seeded draw of the calibration set, and the score of the model that it made.

    Attributes:
        seed: of the draw.
        score: the task's summary on the test samples.
    """

    size: int
    seed: int
    score: float


@dataclass(frozen=True)
class SizeSummary:
    """All draws of one size.

    Attributes:
        mean: of the draws' scores.
        spread: their standard deviation, with its 95 % interval.
        low, high: within which a further draw's score lies with a probability of 95 %.
    """

    size: int
    draws: int
    mean: float
    spread: float
    spread_low: float
    spread_high: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise ValueError(f"{self.draws} draws have no spread")


@dataclass(frozen=True)
class RangeSite:
    """A site that has a range, over all draws of the largest size.

    Attributes:
        name: of the layer whose output it is.
        scale: the middle one of the draws.
        wander: standard deviation of the scale over the draws, relative.
        zero_points: the lowest and the highest.
        clipped: share of values at test time that no code of the first draw's model expresses, by
            the float model; None where that has no such layer.
        beyond: share that is outside of everything that the first draw's samples have.
        beyond_held: the same of other calibration samples, which were not in the draw.
        larger: probability that a test sample's largest value is above that of such a sample; 0.5
            without drift.
        p_value: of that difference, two-sided, by Mann and Whitney.
        drifts: significant at 1 % among all sites, by Holm.
    """

    name: str
    scale: float
    wander: float
    zero_points: tuple[int, int]
    clipped: float | None = None
    beyond: float | None = None
    beyond_held: float | None = None
    larger: float | None = None
    p_value: float | None = None
    drifts: bool = False


@dataclass(frozen=True)
class CalibrationAudit:
    """The result.

    Attributes:
        summary, unit: of the task: "accuracy", "%" (of a share).
        samples: number of test samples.
        held_out: number of calibration samples outside of the first draw.
        within: what a further draw may change before it matters, in the unit of the score.
        enough: smallest size from which on a further draw stays within that of the largest size's
            mean; None where the largest does not.
        sizes: ascending.
        sites: those that wander most first.
    """

    case: Case
    summary: str
    unit: str
    samples: int
    held_out: int
    within: float
    enough: int | None
    draws: tuple[DrawResult, ...]
    sizes: tuple[SizeSummary, ...]
    sites: tuple[RangeSite, ...]
