"""Sites, what quantizing each costs, and what leaving layers in float recovers: frozen records.

Only the standard library and the records may be imported here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from qreg.records.budget import BudgetOutcome
from qreg.records.case import Case
from qreg.records.method import Form
from qreg.records.verdict import ScoreChange


class SitePart(Enum):
    """What of a layer is quantized."""

    WEIGHT = "weight"
    OUTPUT = "output"
    INPUT = "input"  # quantized by its own range at run time


@dataclass(frozen=True)
class Site:
    """A place that is quantized.

    Attributes:
        layer: the module's name in the float model, or the operator's in a graph.
        elements: of a weight; 0 of an activation.
        saved_bytes: by which the quantized weight is smaller than the float one, without scales.
        keepable: whether the layer is a module, so that a method can leave it in float.
    """

    layer: str
    part: SitePart
    elements: int = 0
    saved_bytes: int = 0
    keepable: bool = True

    def __post_init__(self) -> None:
        if not self.layer or self.elements < 0 or self.saved_bytes < 0:
            raise ValueError(f"impossible site: {self}")

    def __str__(self) -> str:
        return f"{self.layer} {self.part.value}"


@dataclass(frozen=True)
class ScoreEffect:
    """A paired change of score, with the number of samples whose prediction differs.

    Attributes:
        p_value: two-sided.
        flips: None where the task has no predictions.
    """

    score: ScoreChange
    p_value: float
    flips: int | None

    @property
    def drop(self) -> float:
        """By how much the summary became worse; negative where it became better."""
        return -self.score.change if self.score.higher_is_better else self.score.change


@dataclass(frozen=True)
class SiteEffect:
    """What quantizing one site costs.

    Attributes:
        rank: from 1, the most harmful first; 0 where the site was not screened.
        tied: whether its scores cannot be distinguished from those of the site ranked before it,
            or of the first of those that are tied with it.
        significant: whether quantizing only it changes the score, after Holm's correction over
            the sites that were measured.
        sqnr_db: of the outputs with only this site quantized; None where not screened.
        noise: its share of the squared errors that all sites cause one by one.
        only: with only this site quantized, compared with none; None where not measured in full.
        but: with all sites but this one quantized, compared with all.
        saved_ms: milliseconds per sample by which the layer's int8 kernel is faster at batch 1;
            None where it is not known, or stands with another site of the layer.
    """

    site: Site
    rank: int = 0
    tied: bool = False
    significant: bool = False
    sqnr_db: float | None = None
    noise: float | None = None
    only: ScoreEffect | None = None
    but: ScoreEffect | None = None
    saved_ms: float | None = None


@dataclass(frozen=True)
class Fidelity:
    """How closely the simulation with all sites quantized follows the converted model.

    Attributes:
        sqnr_db: of the simulation's outputs, the converted model's being the signal.
        same: samples with the same prediction; None where the task has none.
    """

    sqnr_db: float
    total: int
    same: int | None


@dataclass(frozen=True)
class Sensitivity:
    """The effects of a case's sites.

    Attributes:
        summary, unit: of the task's score; "%" of a share.
        total, measured: samples asked for, and samples on which sites were measured in full.
        screened: samples on which all sites were screened.
        level: of the test of each site, before Holm's correction.
        float_value, quantized_value: the score of the simulation with no site quantized and with
            all of them.
        quantized: with all sites quantized, compared with none.
        converted: the score of the real converted model on the same samples.
        effects: the most harmful first; then those not screened, in execution order.
        shared: whether the runs of the sites shared prefixes of the network.
        seconds: that the measurement took, without building the case.
        stopped: what was not measured because of the time limit, in words; "" if nothing.
    """

    case: Case
    summary: str
    unit: str
    higher_is_better: bool
    total: int
    measured: int
    screened: int
    level: float
    float_value: float
    quantized_value: float
    quantized: ScoreEffect
    converted: ScoreEffect
    converted_value: float
    agreement: Fidelity
    effects: tuple[SiteEffect, ...]
    shared: bool
    seconds: float
    stopped: str = ""

    def __post_init__(self) -> None:
        if not self.effects:
            raise ValueError(f"{self.case} has no sites")
        if not 0 < self.measured <= self.total:
            raise ValueError(f"{self.measured} of {self.total} samples")

    @property
    def harmful(self) -> tuple[SiteEffect, ...]:
        """The sites whose quantization alone makes the score worse, significantly."""
        return tuple(e for e in self.effects if e.significant and e.only and e.only.drop > 0)


@dataclass(frozen=True)
class Verified:
    """A real converted model compared with fp32 on some samples.

    Attributes:
        drop, low, high: of the summary, positive is worse; one-sided 95 % bounds.
        needed: samples that would show that the budget is kept; None where that is not known.
    """

    outcome: BudgetOutcome
    value: float
    drop: float
    low: float
    high: float
    total: int
    needed: int | None = None


@dataclass(frozen=True)
class FrontPoint:
    """A list of layers left in float, on the front of score, size and time.

    Attributes:
        keep: the layers; () for the method itself.
        drop: of the summary compared with fp32, on the samples that verify.
        bytes: of the saved file.
        ms: milliseconds per sample at batch 1; None where only simulated.
        simulated: whether `drop` is the simulation's.
    """

    name: str
    keep: tuple[str, ...]
    drop: float
    bytes: int
    ms: float | None
    simulated: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.drop) or self.bytes < 0:
            raise ValueError(f"impossible candidate: {self}")


@dataclass(frozen=True)
class OtherForm:
    """The chosen list with its layers in another form than the one that was asked for.

    Attributes:
        form: of the layers.
        method: the name that a gate can hold.
        verified: the real converted model on the samples that verify.
    """

    form: Form
    method: str
    verified: Verified


@dataclass(frozen=True)
class Recovery:
    """The fewest layers found to leave in float.

    Attributes:
        max_drop: the budget, in the unit of the summary.
        keep: the layers, the most harmful first.
        method: the name that a gate can hold; the case's own method where nothing is kept.
        chosen: the real converted model on the samples by which the layers were chosen.
        verified: the same on the other samples.
        before: the case's own method on those that verify.
        fp32_value: the score of fp32 on those that verify.
        layers: number of layers that could be left in float.
        found: whether a list within the budget was found; if not, `keep` is the nearest.
        front: fp32, the method, the chosen list and lists on the way to it.
        code: Python that does it without qreg; "" where the method has none.
        calls: of the code's functions, in order.
        form: in which the layers are kept.
        other: the same list in another form; None where nothing is kept, or the method cannot.
    """

    case: Case
    summary: str
    unit: str
    max_drop: float
    keep: tuple[str, ...]
    method: str
    chosen: Verified
    verified: Verified
    before: Verified
    fp32_value: float
    layers: int
    found: bool
    front: tuple[FrontPoint, ...]
    code: str
    calls: tuple[str, ...]
    seconds: float
    form: Form = Form.FLOAT32
    other: OtherForm | None = None
