from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qreg.checks.accuracy import judge_accuracy
from qreg.checks.score import (
    MCNEMAR,
    PERMUTATION,
    SIGN_FLIP,
    judge_same_scores,
    judge_score,
    judge_task,
    score_change,
)
from qreg.records.score import Score
from qreg.records.verdict import AccuracyChange, Check, Outcome
from qreg.stats.intervals import paired_change
from qreg.stats.mcnemar import critical_losses, detectable_drop, lost_more
from qreg.stats.permutation import spread_of_a_sample

ALPHA = 0.005
Array = npt.NDArray[np.float64]
OLD = np.random.default_rng(0).beta(6, 2, size=400)


def _score(values: Sequence[float] | Array, **changes: Any) -> Score:
    found = np.asarray(values, dtype=np.float64)
    made = Score(
        task="overlap",
        name="IoU",
        higher_is_better=True,
        binary=False,
        index=tuple(range(len(found))),
        values=tuple(found.tolist()),
        summary="mean IoU of a sample",
        unit="%",
        value=float(found.mean()),
    )
    return replace(made, **changes)


def _noise(seed: int, size: float = 0.01) -> Array:
    noise = np.random.default_rng(seed).normal(size=len(OLD)) * size
    return noise - noise.mean()


def _outcome(now: Score, before: Score, **options: Any) -> Outcome:
    found = list(judge_score(score_change(now, before, alpha=ALPHA, **options), alpha=ALPHA))
    assert len(found) <= 1
    return found[0].outcome if found else Outcome.PASS


def test_the_same_scores_pass() -> None:
    found = score_change(_score(OLD), _score(OLD), alpha=ALPHA)
    assert (found.change, found.low, found.high, found.margin) == (0, 0, 0, 0)
    assert (found.p_value, found.p_better, found.worse, found.better) == (1, 1, 0, 0)
    assert not list(judge_score(found, alpha=ALPHA))
    assert not list(judge_same_scores(_score(OLD), _score(OLD)))


@pytest.mark.parametrize("higher", [True, False])
def test_each_outcome_in_both_directions(higher: bool) -> None:
    before = _score(OLD, higher_is_better=higher)
    turn = 1 if higher else -1
    seen = []
    for shift in (-0.01, -0.0009, 0.0, 0.01):
        now = _score(OLD + _noise(1) + turn * shift, higher_is_better=higher)
        seen.append(_outcome(now, before))
    assert seen == [Outcome.REGRESSED, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.IMPROVED]


def test_the_direction_only_turns_signs() -> None:
    now = _score(OLD + _noise(2) - 0.002)
    up = score_change(now, _score(OLD), alpha=ALPHA)
    down = score_change(
        _score(-np.array(now.values), higher_is_better=False),
        _score(-OLD, higher_is_better=False),
        alpha=ALPHA,
    )
    assert (up.change, up.low, up.high) == pytest.approx((-down.change, -down.high, -down.low))
    assert (up.p_value, up.margin, up.worse) == pytest.approx(
        (down.p_value, down.margin, down.worse)
    )
    assert (up.typical_low, up.typical_high) == pytest.approx(
        (-down.typical_high, -down.typical_low)
    )
    assert up.test == SIGN_FLIP


def test_a_fall_of_the_margin_is_where_it_regresses() -> None:
    before, noise = _score(OLD), _noise(3)
    margin = score_change(_score(OLD + noise), before, alpha=ALPHA).margin
    assert _outcome(_score(OLD + noise - 1.15 * margin), before) is Outcome.REGRESSED
    assert _outcome(_score(OLD + noise - 0.85 * margin), before) is Outcome.INCONCLUSIVE
    detectable = score_change(_score(OLD + noise), before, alpha=ALPHA).detectable
    assert margin < detectable < 2 * margin


def test_the_tolerance_lets_small_certain_changes_by_and_no_larger_ones() -> None:
    before, sure = _score(OLD), _noise(4, size=1e-5)
    now = _score(OLD + sure - 1e-3)
    assert _outcome(now, before) is Outcome.REGRESSED
    assert _outcome(now, before, tolerance=0.02) is Outcome.PASS
    found = score_change(now, before, alpha=ALPHA, tolerance=0.02)
    assert found.floor == pytest.approx(0.02 * OLD.std())
    assert _outcome(_score(OLD + sure - 2 * found.floor), before, tolerance=0.02) is (
        Outcome.REGRESSED
    )
    better = _score(OLD + sure + 1e-3)
    assert _outcome(better, before) is Outcome.IMPROVED
    assert _outcome(better, before, tolerance=0.02) is Outcome.PASS


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 40))
def test_scores_of_0_and_1_are_judged_as_accuracy_is(won: int, lost: int) -> None:
    total = 200
    old = np.array([0.0] * won + [1.0] * (total - won))
    new = np.array([1.0] * (total - lost) + [0.0] * lost)
    now, before = (_score(one, binary=True, span=1.0) for one in (new, old))
    found = score_change(now, before, alpha=ALPHA)
    change, low, high = paired_change(won, lost, total, level=0.9)
    accuracy = AccuracyChange(
        total, int(old.sum()), int(new.sum()), won, lost, change, low, high,
        lost_more(won, lost),
        detectable_drop(won + lost, total, alpha=ALPHA),
        critical_losses(won + lost, alpha=ALPHA) / total,
    )  # fmt: skip
    assert found.test == MCNEMAR
    assert (found.change, found.low, found.high) == pytest.approx((change, low, high))
    assert (found.p_value, found.margin) == (accuracy.p_value, accuracy.margin)
    judged, expected = judge_score(found, alpha=ALPHA), judge_accuracy(accuracy, alpha=ALPHA)
    assert [one.outcome for one in judged] == [one.outcome for one in expected]


def _ratio(rows: Array) -> float:
    return float(rows[:, 0].sum() / rows[:, 1].sum())


def _with_rows(parts: Array) -> Score:
    return _score(parts[:, 0] / parts[:, 1], value=_ratio(parts), rows=tuple(map(tuple, parts)))


def test_a_summary_of_the_set_is_judged_by_exchanging_samples() -> None:
    rng = np.random.default_rng(5)
    old = np.stack([rng.integers(0, 8, size=150), rng.integers(8, 30, size=150)], axis=1) * 1.0
    before = _with_rows(old)
    noise = np.stack([np.tile([1.0, 0, -1], 50), np.zeros(150)], axis=1)
    clean, worse = _with_rows(old + noise), _with_rows(old - [1.0, 0.0])
    found = score_change(clean, before, alpha=ALPHA, summarize=_ratio)
    assert found.test == PERMUTATION
    assert found.expected == before.value
    assert not list(judge_score(found, alpha=ALPHA))
    assert _outcome(worse, before, summarize=_ratio) is Outcome.REGRESSED
    assert _outcome(before, worse, summarize=_ratio) is Outcome.IMPROVED
    # of fewer wrong words fewer are better
    lower = [replace(one, higher_is_better=False) for one in (worse, before)]
    assert _outcome(*lower, summarize=_ratio) is Outcome.IMPROVED
    huge = score_change(worse, before, alpha=ALPHA, summarize=_ratio, tolerance=5.0)
    assert huge.p_value == 1.0
    with pytest.raises(ValueError, match="whole set"):
        score_change(clean, before, alpha=ALPHA)


def test_the_spread_of_a_sample_is_that_of_its_score() -> None:
    found = spread_of_a_sample(OLD[:, None], lambda rows: float(rows.mean()))
    assert found == pytest.approx(OLD.std(), rel=0.3)


def test_samples_are_paired_by_their_index() -> None:
    before = _score(OLD)
    now = _score(OLD[100:], index=tuple(range(100, 400)))
    found = score_change(now, before, alpha=ALPHA)
    assert (found.total, found.change) == (300, 0)
    with pytest.raises(ValueError, match="no sample"):
        score_change(_score(OLD, index=tuple(range(400, 800))), before, alpha=ALPHA)


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "other"},
        {"summary": "median"},
        {"name": "Dice"},
        {"higher_is_better": False},
        {"index": tuple(range(400, 800))},
    ],
)
def test_other_scores_cannot_be_compared(changes: dict[str, Any]) -> None:
    (found,) = judge_task(_score(OLD, **changes), _score(OLD))
    assert (found.check, found.outcome) == (Check.SCORE, Outcome.INCOMPARABLE)
    assert not list(judge_task(_score(OLD), _score(OLD)))


def test_in_the_same_environment_one_bit_is_enough() -> None:
    values = OLD.copy()
    values[7] = np.nextafter(values[7], 2)
    (found,) = judge_same_scores(_score(values), _score(OLD))
    assert (found.outcome, found.where) == (Outcome.REGRESSED, "sample 7")


def test_a_finding_says_how_much_and_how_sure() -> None:
    now = _score(OLD + _noise(6) - 0.01)
    (found,) = judge_score(score_change(now, _score(OLD), alpha=ALPHA), alpha=ALPHA)
    assert found.check is Check.SCORE
    assert found.expected == f"mean IoU of a sample {OLD.mean():.2%} of 400 samples"
    assert "-1.00 points" in found.observed
    assert found.p_value is not None
    assert found.p_value < 1e-6
    plain = [_score(one, unit="m", higher_is_better=False) for one in (OLD + 1, OLD)]
    (rise,) = judge_score(score_change(*plain, alpha=ALPHA), alpha=ALPHA)
    assert rise.observed.startswith(f"{OLD.mean() + 1:.4g} m, +1 m")
    assert rise.allowed.startswith("a rise below")


@pytest.mark.parametrize(
    "changes",
    [
        {"values": (1.0,)},
        {"values": tuple([np.nan] * 400)},
        {"value": np.inf},
        {"index": tuple(range(400, 0, -1))},
        {"rows": ((1.0,),)},
        {"predictions": (1, 2)},
        {"binary": True},
        {"index": (), "values": ()},
    ],
)
def test_a_record_of_scores_checks_itself(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"score|indices|rows|predictions"):
        replace(_score(OLD), **changes)
