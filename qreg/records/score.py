"""Scores of a case on its samples: frozen records of tuples, checked on construction.

Only the standard library may be imported here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """The scores of a case by a task.

    Attributes:
        task: its name.
        name: of a single score: "IoU", "absolute error".
        binary: every score is 0 or 1.
        index: canonical indices of the samples, ascending.
        values: the score of each.
        summary, unit, value: the summary of all scores: "mean IoU", "%", 0.713 ("%" of a share).
        span: largest possible difference of two scores; None where unbounded.
        rows: the statistics of each sample that a set-level summary is computed from, of any
            lengths; () where the summary is the mean of the scores.
        predictions: a code for each sample, equal where the prediction is; None where the task has
            no predictions.
    """

    task: str
    name: str
    higher_is_better: bool
    binary: bool
    index: tuple[int, ...]
    values: tuple[float, ...]
    summary: str
    unit: str
    value: float
    span: float | None = None
    rows: tuple[tuple[float, ...], ...] = ()
    predictions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.index)
        if not count or len(self.values) != count:
            raise ValueError(f"{len(self.values)} scores for {count} samples")
        if any(a >= b for a, b in zip(self.index, self.index[1:], strict=False)):
            raise ValueError("canonical indices are not ascending")
        if self.rows and len(self.rows) != count:
            raise ValueError(f"{len(self.rows)} rows of statistics for {count} samples")
        if self.predictions is not None and len(self.predictions) != count:
            raise ValueError(f"{len(self.predictions)} predictions for {count} samples")
        if not all(map(math.isfinite, (self.value, *self.values))):
            raise ValueError(f"a score of task '{self.task}' is not finite")
        if self.binary and not set(self.values) <= {0.0, 1.0}:
            raise ValueError(f"a score of task '{self.task}' is neither 0 nor 1")

    def __hash__(self) -> int:
        # a few scores distinguish two records; equality compares all of them
        return hash((self.task, len(self.index), self.index[-1], self.values[:8], self.value))
