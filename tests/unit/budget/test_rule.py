"""The rule of a budget: KEPT, BROKEN and NOT SHOWN where the interval says so."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qreg.budget.rule import Evidence, Pair, judge_limits, look_again
from qreg.records.budget import Against, BudgetCheck, BudgetOutcome, Limits
from qreg.records.score import Score


def pair(**given: object) -> Pair:
    return Pair(**{"total": 1000, "won": 0, "lost": 0, "flips": 0, **given})  # type: ignore[arg-type]


def judged(limits: Limits, **given: object) -> BudgetCheck:
    evidence = {
        "score": None, "file_bytes": 500_000, "pairs": {"fp32": pair()}, "control": "fp32",
    }  # fmt: skip
    (found,) = judge_limits(limits, Evidence(**{**evidence, **given}))  # type: ignore[arg-type]
    return found


def score(values: np.ndarray, **given: object) -> Score:
    made = {
        "task": "regression", "name": "absolute error", "higher_is_better": True, "binary": False,
        "index": tuple(range(len(values))), "values": tuple(map(float, values)),
        "summary": "mean", "unit": "m", "value": float(np.mean(values)),
    }  # fmt: skip
    return Score(**{**made, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("won", "lost", "points", "result"),
    [
        (5, 5, 2.0, BudgetOutcome.KEPT),
        (5, 9, 0.5, BudgetOutcome.NOT_SHOWN),
        (2, 60, 0.5, BudgetOutcome.BROKEN),
        (0, 0, 0.5, BudgetOutcome.KEPT),
        (
            0,
            0,
            0.2,
            BudgetOutcome.NOT_SHOWN,
        ),  # no flip among 1,000 leaves up to 0.27 points possible
    ],
)
def test_a_drop_is_judged_by_its_interval(
    won: int, lost: int, points: float, result: BudgetOutcome
) -> None:
    found = judged(Limits(max_drop=points), pairs={"fp32": pair(won=won, lost=lost)})
    assert found.result is result
    assert found.low is not None
    assert found.high is not None
    assert (found.low > -points) == (result is BudgetOutcome.KEPT)
    assert (found.high < -points) == (result is BudgetOutcome.BROKEN)
    assert "of at most" in found.allowed


def test_the_number_of_samples_that_would_show_it_does() -> None:
    limits, few = Limits(max_drop=0.5), pair(won=5, lost=6)
    needed = judged(limits, pairs={"fp32": few}).needed
    assert needed is not None
    assert needed > 1000
    times = math.ceil(needed / 1000) + 1
    more = pair(total=1000 * times, won=5 * times, lost=6 * times)
    assert judged(limits, pairs={"fp32": more}).result is BudgetOutcome.KEPT


def test_a_drop_can_be_measured_from_the_control() -> None:
    pairs = {"fp32": pair(lost=80), "fp32-finetuned": pair()}
    limits = Limits(max_drop=1.0, against=Against.CONTROL)
    found = judged(limits, pairs=pairs, control="fp32-finetuned")
    assert found.result is BudgetOutcome.KEPT
    assert "against fp32-finetuned" in found.allowed
    absent = judged(limits, control="fp32-finetuned")
    assert absent.result is BudgetOutcome.NOT_SHOWN
    assert "no fp32-finetuned" in absent.observed


def test_real_scores_are_in_the_unit_of_their_summary() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=1000)
    now = before - 0.1 + 0.2 * rng.normal(size=1000)
    pairs = {"fp32": pair(score=score(before))}
    for largest, result in (
        (0.2, BudgetOutcome.KEPT),
        (0.1, BudgetOutcome.NOT_SHOWN),
        (0.05, BudgetOutcome.BROKEN),
    ):
        found = judged(Limits(max_drop=largest), score=score(now), pairs=pairs)
        assert found.result is result
        assert f"{largest:g} m" in found.allowed


def test_where_lower_is_better_a_rise_is_limited() -> None:
    before = np.ones(500)
    lower = {"higher_is_better": False}
    pairs = {"fp32": pair(score=score(before, **lower))}
    found = judged(Limits(max_drop=0.1), score=score(before + 0.3, **lower), pairs=pairs)
    assert found.result is BudgetOutcome.BROKEN
    assert "a rise of" in found.allowed
    assert found.observed.startswith("+0.3")


def test_a_summary_of_a_whole_set_is_judged() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random(400) < 0.8
    rows = np.column_stack([hits, np.ones(400)])
    worse = rows.copy()
    worse[:120, 0] = 0

    def ratio(found: np.ndarray) -> float:
        return float(found[:, 0].sum() / found[:, 1].sum())

    def of(found: np.ndarray) -> Score:
        given = tuple(map(tuple, found.tolist()))
        return score(found[:, 0], rows=given, unit="%", value=ratio(found))

    for now, result in ((rows, BudgetOutcome.KEPT), (worse, BudgetOutcome.BROKEN)):
        found = judged(
            Limits(max_drop=1.0), score=of(now), pairs={"fp32": pair(score=of(rows))},
            summarize=ratio,
        )  # fmt: skip
        assert found.result is result


def test_sizes_are_kept_or_broken() -> None:
    pairs = {"fp32": pair(file_bytes=2_000_000)}
    for limits, result in (
        (Limits(max_size=0.5), BudgetOutcome.KEPT),
        (Limits(max_size=0.49), BudgetOutcome.BROKEN),
        (Limits(max_size_share=0.25), BudgetOutcome.KEPT),
        (Limits(max_size_share=0.2), BudgetOutcome.BROKEN),
    ):
        assert judged(limits, pairs=pairs).result is result


def test_flips_are_counted_or_a_share_with_its_interval() -> None:
    pairs = {"fp32": pair(flips=15)}
    assert judged(Limits(max_flips=15), pairs=pairs).result is BudgetOutcome.KEPT
    assert judged(Limits(max_flips=14), pairs=pairs).result is BudgetOutcome.BROKEN
    shown = judged(Limits(max_flips_share=0.02), pairs=pairs)
    assert shown.result is BudgetOutcome.NOT_SHOWN
    assert shown.needed is not None
    assert 1000 < shown.needed < 10_000
    assert judged(Limits(max_flips_share=0.03), pairs=pairs).result is BudgetOutcome.KEPT
    assert judged(Limits(max_flips_share=0.005), pairs=pairs).result is BudgetOutcome.BROKEN
    none = judged(Limits(max_flips=1), pairs={"fp32": pair(flips=None)})
    assert none.result is BudgetOutcome.NOT_SHOWN
    assert "no predictions" in none.observed


def test_a_speed_up_is_broken_only_when_every_measurement_shows_it() -> None:
    limits, slow = Limits(min_speed_up=2.0), math.log(1.1)
    assert judged(limits, log_speed_ups=(math.log(3.0),)).result is BudgetOutcome.KEPT
    near = judged(limits, log_speed_ups=(math.log(2.1),))
    assert near.result is BudgetOutcome.NOT_SHOWN
    assert near.needed is not None
    assert judged(limits, log_speed_ups=(slow,)).result is BudgetOutcome.NOT_SHOWN
    assert judged(limits, log_speed_ups=(slow,), looks=1).result is BudgetOutcome.BROKEN
    assert judged(limits, log_speed_ups=(slow, slow, slow)).result is BudgetOutcome.BROKEN
    assert (
        judged(limits, log_speed_ups=(slow, slow, math.log(2.5))).result is BudgetOutcome.NOT_SHOWN
    )
    assert look_again(2.0, [slow])
    assert not look_again(2.0, [slow, slow, slow])
    assert not look_again(2.0, [math.log(1.9)])
