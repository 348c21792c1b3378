"""Successors judged by a task's score."""

from __future__ import annotations

import numpy as np
import pytest

from qreg.checks.score import score_change
from qreg.migrate.records import Fate, Replacement
from qreg.migrate.rule import judge_score_change
from qreg.records.case import Case
from qreg.records.numerics import OperatorCount, Work
from qreg.records.score import Score

INT8 = Work((OperatorCount("quantized::linear", 1),), (), 0, True)
OLD, NEW = (Case("d", "m", method, "x86") for method in ("static", "fx-static"))


def _score(values: np.ndarray) -> Score:
    return Score(
        task="regression",
        name="absolute error",
        higher_is_better=False,
        binary=False,
        index=tuple(range(len(values))),
        values=tuple(values.tolist()),
        summary="MAE",
        unit="m",
        value=float(values.mean()),
    )


@pytest.mark.parametrize(
    ("shift", "fate"), [(0.0, Fate.NOISE), (0.1, Fate.LOST), (-0.1, Fate.GAINED)]
)
def test_the_fate_is_of_the_score(shift: float, fate: Fate) -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(1, 2, 400)
    now = before + rng.normal(0, 0.1, 400) + shift
    change = score_change(_score(now), _score(before), alpha=0.005)
    assert judge_score_change(change, INT8, same_bits=False, level=0.01) is fate
    assert judge_score_change(change, INT8, same_bits=True, level=0.01) is Fate.SAME
    assert (
        judge_score_change(change, Work((), (), 0, False), same_bits=False, level=0.01)
        is Fate.NOTHING
    )
    assert Replacement(NEW, OLD, fate, "", "", "", (), (), score=change).compared


def test_a_measured_one_needs_a_comparison() -> None:
    with pytest.raises(ValueError, match="within noise"):
        Replacement(NEW, OLD, Fate.NOISE, "", "", "", (), ())
