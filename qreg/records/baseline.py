"""Baselines and who approved them: frozen records of tuples, checked when made.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

from qreg.records.case import Case, Environment
from qreg.records.measurement import Size
from qreg.records.numerics import Numerics
from qreg.records.score import Score
from qreg.records.verdict import Outcome
from qreg.records.weights import parse_weights

#: Processes that a spread can be told from at all.
FEWEST_PROCESSES = 4


@dataclass(frozen=True)
class Snapshot:
    """What a baseline keeps of a measurement.

    Attributes:
        checkpoint: which weights: see `qreg.records.weights.Weights.text`.
        calibration: canonical training indices whose ranges were observed.
        correct: how many of the samples were predicted right; 0 where there is a `score`.
        predictions: predicted class of each of `numerics.images`, or a task's code for it; ()
            where a task has none.
        score: what the task says; None for classification, whose scores are right or wrong.
        draw: how the samples were drawn that it was calibrated on and judged by, "" for the first.
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
    score: Score | None = None
    draw: str = ""

    def __post_init__(self) -> None:
        parse_weights(self.checkpoint)
        images = self.numerics.images
        if self.score is not None and self.score.index != images.index:
            raise ValueError(f"scores of {len(self.score.index)} samples that were not seen")
        wanted = bool(self.predictions) or self.score is None
        if wanted and len(self.predictions) != len(images.index):
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
class Promise:
    """How much faster than fp32 a case was when a person approved it: what is expected of it.

    Attributes:
        environment: where it was measured; seldom that of the case's `Snapshot`.
        batch: images a call.
        log_speed_ups: natural log of fp32's time over the case's, one number of each fresh
            process: their spread is what such a figure is worth.
        history: the approvals, the latest last.
    """

    case: Case
    environment: Environment
    batch: int
    log_speed_ups: tuple[float, ...]
    history: tuple[Approval, ...]

    def __post_init__(self) -> None:
        if len(self.log_speed_ups) < FEWEST_PROCESSES:
            raise ValueError(f"{len(self.log_speed_ups)} processes, {FEWEST_PROCESSES} are needed")
        if not all(map(math.isfinite, self.log_speed_ups)) or not self.history:
            raise ValueError("a speed-up that is no number, or a promise without an approval")


@dataclass(frozen=True)
class Baseline:
    """A measurement that a person approved; `history` holds the approvals, the latest last."""

    snapshot: Snapshot
    history: tuple[Approval, ...]

    def __post_init__(self) -> None:
        if not self.history:
            raise ValueError("a baseline without an approval")
