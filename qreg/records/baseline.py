"""Baselines and their approvals: frozen records of tuples, checked on construction.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from qreg.records.case import Case, Environment
from qreg.records.codes import as_codes
from qreg.records.measurement import Size
from qreg.records.model_file import ModelFile
from qreg.records.numerics import Numerics
from qreg.records.score import Score
from qreg.records.verdict import Outcome
from qreg.records.weights import parse_weights

#: The smallest number of processes from which a spread can be estimated.
FEWEST_PROCESSES = 4


@dataclass(frozen=True)
class Snapshot:
    """What a baseline keeps of a measurement.

    Attributes:
        checkpoint: identifies the weights; see `qreg.records.weights.Weights.text`.
        calibration: canonical indices of the calibration samples.
        correct: how many of the samples were predicted right; 0 where there is a `score`.
        predictions: predicted class of each of `numerics.images`, or a task's code for it; ()
            where a task has none; kept as `Codes`.
        score: what the task says; None for classification, whose scores are right or wrong.
        draw: how the samples were drawn that it was calibrated on and judged by, "" for the first.
        warnings: distinct texts, without addresses and folders.
        file: the facts of a delivered file, whose content is judged; None for other methods.
    """

    case: Case
    environment: Environment
    checkpoint: str
    calibration: tuple[int, ...]
    correct: int
    predictions: Sequence[int]
    size: Size
    numerics: Numerics
    warnings: tuple[str, ...]
    score: Score | None = None
    draw: str = ""
    file: ModelFile | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "predictions", as_codes(self.predictions))
        parse_weights(self.checkpoint)
        images = self.numerics.images
        if self.score is not None and self.score.index != images.index:
            raise ValueError(f"scores of {len(self.score.index)} samples that were not seen")
        wanted = bool(self.predictions) or self.score is None
        if wanted and len(self.predictions) != len(images.index):
            raise ValueError(f"{len(self.predictions)} predictions, {len(images.index)} images")
        right = _equal(self.predictions, images.labels)
        if right != self.correct:
            raise ValueError(f"{self.correct} recorded as correct, {right} are")


def _equal(one: Sequence[int], other: Sequence[int]) -> int:
    """How many are equal, pair by pair; ten thousand without a step of Python each."""
    if len(one) == len(other):
        with contextlib.suppress(ValueError):  # up to 255, as most classes are
            differing = int.from_bytes(bytes(one), "big") ^ int.from_bytes(bytes(other), "big")
            return differing.to_bytes(len(one), "big").count(0)
    return sum(map(operator.eq, one, other))


@dataclass(frozen=True)
class Replaced:
    """What an approval replaced.

    Attributes:
        outcome: the verdict on the new measurement against the old baseline.
        correct, total: of the old baseline, on the common samples.
        new_correct: of the new measurement, on the same samples.
        flips: number of differing predictions.
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
    """An approval: reason, date (ISO 8601, UTC) and commit ("" outside git)."""

    reason: str
    date: str
    commit: str
    qreg: str
    replaced: Replaced | None = None


@dataclass(frozen=True)
class Promise:
    """The approved speed-up over fp32 of a case, which is expected from then on.

    Attributes:
        environment: where it was measured; usually not that of the case's `Snapshot`.
        batch: samples per call.
        log_speed_ups: natural log of fp32's time over the case's, one per fresh process; their
            spread determines the tolerance.
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
    """An approved measurement; `history` has the approvals, the latest last."""

    snapshot: Snapshot
    history: tuple[Approval, ...]

    def __post_init__(self) -> None:
        if not self.history:
            raise ValueError("a baseline without an approval")
