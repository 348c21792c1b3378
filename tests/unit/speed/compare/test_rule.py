from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from qreg.records.verdict import Outcome
from qreg.speed.compare import rule as rule
from qreg.speed.compare.rule import (
    Look,
    SequentialPlan,
    describe,
    judge_look,
    make_plan,
    most_cases,
)
from qreg.speed.pairs import pair_orders

EVEN = [-0.001, 0.0012, -0.0008, 0.0009, 0.0004, -0.0003, 0.0006, -0.0007]


def shifted(by: float, spread: float = 1.0, pairs: int = 8) -> list[float]:
    return [math.log1p(by) + spread * one for one in (EVEN * 3)[:pairs]]


def test_the_plan_spends_one_percent() -> None:
    assert make_plan(cases=1).looks == (Look(8, 0.004), Look(12, 0.003), Look(16, 0.003))
    for pairs, numbers in ((8, [8]), (10, [8, 10]), (12, [8, 12]), (24, [8, 12, 16, 24])):
        plan = make_plan(pairs=pairs, cases=2)
        assert [look.pairs for look in plan.looks] == numbers
        assert sum(look.alpha for look in plan.looks) == pytest.approx(0.01)


@pytest.mark.parametrize("pairs", [0, 6, 9])
def test_a_plan_needs_blocks_and_enough_of_them(pairs: int) -> None:
    with pytest.raises(ValueError, match=f"{pairs} pairs"):
        make_plan(pairs=pairs, cases=1)


def test_a_plan_that_could_find_nothing_is_refused() -> None:
    assert most_cases(make_plan(pairs=8, cases=1).looks) == 2
    with pytest.raises(ValueError, match="3 cases"):
        make_plan(pairs=8, cases=3)
    with pytest.raises(ValueError, match="spend"):
        SequentialPlan((Look(8, 0.05),), cases=1)


def test_slower_faster_and_neither() -> None:
    plan = make_plan(cases=1)
    slower, faster, same, little = (
        judge_look([shifted(by)], plan)[0] for by in (0.03, -0.03, 0.0, 0.006)
    )
    assert slower.outcome is Outcome.REGRESSED
    assert slower.change == pytest.approx(0.03, abs=2e-4)
    assert slower.p_slower == 1 / 256
    assert faster.outcome is Outcome.IMPROVED
    assert faster.p_faster == 1 / 256
    assert same.outcome is Outcome.PASS
    assert same.low < 0 < same.high < 0.03
    # significant, and nobody's concern
    assert little.p_slower == 1 / 256
    assert little.outcome is Outcome.PASS


def test_what_is_not_clear_goes_on_and_ends_inconclusive() -> None:
    plan = make_plan(cases=1)
    wide = [judge_look([shifted(0.0, spread=60, pairs=n)], plan)[0] for n in (8, 12, 16)]
    assert [one.outcome for one in wide] == [Outcome.INCONCLUSIVE] * 3
    assert wide[-1].detectable > 0.03


def test_a_gain_that_is_not_yet_significant_is_waited_for() -> None:
    plan = make_plan(cases=10)
    early = judge_look([shifted(-0.05)] * 10, plan)
    late = judge_look([shifted(-0.05, pairs=12)] * 10, plan)
    assert {one.outcome for one in early} == {Outcome.INCONCLUSIVE}
    assert {one.outcome for one in late} == {Outcome.IMPROVED}


def test_decided_cases_still_count_in_the_family() -> None:
    alone = judge_look([shifted(0.05)], make_plan(cases=1))[0]
    one_of_two = judge_look([shifted(0.05)], make_plan(cases=2))[0]
    assert alone.outcome is Outcome.REGRESSED
    assert one_of_two.outcome is Outcome.INCONCLUSIVE
    assert one_of_two.detectable >= alone.detectable


def test_no_look_that_was_not_planned() -> None:
    with pytest.raises(ValueError, match="no look at 10"):
        judge_look([shifted(0.1, pairs=10)], make_plan(cases=1))
    assert describe(shifted(0.1, pairs=10), make_plan(cases=1)).outcome is Outcome.INCONCLUSIVE


def test_a_ratio_of_exactly_one_counts_against_any_claim() -> None:
    found = describe([0.0] * 8, make_plan(cases=1))
    assert (found.p_slower, found.p_faster) == (1.0, 1.0)
    mixed = describe([0.0, *[0.01 * n for n in range(1, 8)]], make_plan(cases=1))
    assert mixed.p_slower == 2 / 256


def _noise(kind: str, rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Noise of each process in the order of time (pairs, 2); a pair's difference has sd 1.3 %."""
    if kind == "normal":
        found = rng.normal(size=2 * pairs)
    elif kind == "heavy":
        found = rng.standard_t(3, size=2 * pairs) / math.sqrt(3)
    else:
        found = np.empty(2 * pairs)
        state = rng.normal()
        for n in range(2 * pairs):
            state = 0.6 * state + 0.8 * rng.normal()
            found[n] = state / math.sqrt(0.4)
    return 0.013 / math.sqrt(2) * found.reshape(pairs, 2)


def _run(kind: str, slowdown: float, seed: int) -> Outcome:
    """A whole run, with the early looks, on noise instead of processes."""
    plan, rng = make_plan(cases=1), np.random.default_rng((seed, len(kind)))
    noise = _noise(kind, rng, plan.pairs)
    orders = pair_orders(seed)
    signs = np.array([1 if next(orders) == "AB" else -1 for _ in range(plan.pairs)])
    ratios = math.log1p(slowdown) + signs * (noise[:, 1] - noise[:, 0])
    for look in plan.looks:
        found = judge_look([ratios[: look.pairs].tolist()], plan)[0]
        if found.outcome is not Outcome.INCONCLUSIVE:
            break
    return found.outcome


@pytest.mark.parametrize("kind", ["normal", "heavy", "autocorrelated"])
@pytest.mark.parametrize(
    ("clean", "slower"), [(120, 40), pytest.param(3000, 500, marks=pytest.mark.slow)]
)
def test_false_alarms_and_power_are_what_was_promised(
    kind: str, clean: int, slower: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "detectable_shift", lambda *_: 0.0)  # not asked for here, and slow
    outcomes = [_run(kind, 0.0, seed) for seed in range(clean)]
    alarms = outcomes.count(Outcome.REGRESSED)
    assert stats.binomtest(alarms, clean).proportion_ci(0.95).low <= 0.01
    assert outcomes.count(Outcome.PASS) >= 0.9 * clean
    found = [_run(kind, 0.03, seed) for seed in range(slower)].count(Outcome.REGRESSED)
    assert stats.binomtest(found, slower).proportion_ci(0.95).high >= 0.95
    print(f"{kind}: {alarms} of {clean} false, {found} of {slower} found")


@pytest.mark.slow
def test_the_detectable_slowdown_is_found_as_often_as_it_says() -> None:
    plan, rng = make_plan(cases=1), np.random.default_rng(8)
    seen = rng.normal(0, 0.013, 16)
    seen = np.concatenate([seen, -seen])
    shift = math.log1p(describe(seen.tolist(), plan).detectable)
    hits = 0
    for _ in range(150):
        ratios = shift + rng.choice(seen, 16)
        looks = (judge_look([ratios[:n].tolist()], plan)[0].outcome for n in (8, 12, 16))
        hits += next((o for o in looks if o is not Outcome.INCONCLUSIVE), None) is Outcome.REGRESSED
    low, high = stats.binomtest(hits, 150).proportion_ci(0.99)
    assert low <= 0.95 <= high


def test_detectable_grows_with_spread_and_never_is_below_the_threshold() -> None:
    plan = make_plan(cases=1)
    found = [describe(shifted(0.0, spread=s), plan).detectable for s in (0.001, 1, 10, 50)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(rule.THRESHOLD, rel=0.01)


def test_speeds_are_plain_values() -> None:
    found = judge_look([shifted(0.0)], make_plan(cases=1))[0]
    assert all(isinstance(v, float | int | Outcome) for v in dataclasses.astuple(found))


def test_several_threads_have_a_looser_gate() -> None:
    loose = make_plan(cases=1, threads=2)
    assert judge_look([shifted(0.04)], loose)[0].outcome is Outcome.PASS
    assert judge_look([shifted(0.06)], loose)[0].outcome is Outcome.REGRESSED
