"""Scores as text and table cells."""

from __future__ import annotations

from qreg.records.score import Score
from qreg.records.verdict import ScoreChange


def score_heading(score: Score) -> str:
    """``mean IoU %``, ``mean absolute error m``."""
    return f"{score.summary} {score.unit}".strip()


def number(value: float, unit: str, *, signed: bool = False) -> str:
    """A summary's value; a share is times 100."""
    shown = value * 100 if unit == "%" else value
    return f"{shown:+.4g}" if signed else f"{shown:.4g}"


def score_change_cell(change: ScoreChange) -> str:
    """The change and its interval."""
    low, high = (number(end, change.unit, signed=True) for end in (change.low, change.high))
    return f"{number(change.change, change.unit, signed=True)}\n{low}..{high}"


def moved_cell(change: ScoreChange) -> str:
    """The number of samples with changed scores, and how many became worse and better."""
    return f"{change.worse + change.better}\n-{change.worse} +{change.better}"
