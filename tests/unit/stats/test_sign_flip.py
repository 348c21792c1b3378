from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qreg.stats import sign_flip as module
from qreg.stats.sign_flip import (
    EXACT,
    critical_fall,
    detectable_fall,
    mean_interval,
    sign_flip,
    standard_error,
)

FEW = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=8)


@given(FEW)
def test_it_counts_all_ways_to_choose_signs(values: list[float]) -> None:
    signs = itertools.product((-1, 1), repeat=len(values))
    ways = [sum(s * abs(v) for s, v in zip(one, values, strict=True)) for one in signs]
    assert sign_flip(values) == pytest.approx(np.mean([way <= sum(values) for way in ways]))


@given(FEW, st.sampled_from([0.1, 3.0, 1e-9, 1e12]))
def test_order_zeros_and_the_unit_do_not_matter(values: list[float], unit: float) -> None:
    expected = sign_flip(values)
    assert sign_flip(values[::-1]) == expected
    assert sign_flip([*values, 0.0, 0.0]) == expected
    assert sign_flip([unit * value for value in values]) == expected


@given(FEW)
def test_both_sides_share_only_the_observed_mean(values: list[float]) -> None:
    signs = itertools.product((-1, 1), repeat=len(values))
    ways = [sum(s * abs(v) for s, v in zip(one, values, strict=True)) for one in signs]
    equal = np.mean([way == sum(values) for way in ways]) if any(values) else 1.0
    found = sign_flip(values) + sign_flip([-value for value in values])
    assert found == pytest.approx(1 + equal)


def test_scipys_permutation_test_says_the_same() -> None:
    values = np.random.default_rng(1).normal(size=10) - 0.4
    found = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples",
        alternative="less", vectorized=True,
    )  # fmt: skip
    assert sign_flip(values) == pytest.approx(found.pvalue)


def test_scores_of_0_and_1_are_mcnemars() -> None:
    # of 60 that changed, 22 won
    values = np.array([1.0] * 22 + [-1.0] * 38)
    expected = stats.binomtest(22, 60, alternative="less").pvalue
    assert sign_flip(values) == pytest.approx(expected, rel=0.2)
    assert sign_flip(values[:EXACT]) == 1.0
    assert sign_flip(-values[:EXACT]) == pytest.approx(2.0**-EXACT)


@pytest.mark.parametrize("shift", [0.0, -0.05, 0.1])
def test_many_differences_agree_with_the_t_test(shift: float) -> None:
    values = np.random.default_rng(5).normal(size=800) + shift
    expected = stats.ttest_1samp(values, 0, alternative="less").pvalue
    assert sign_flip(values) == pytest.approx(expected, abs=0.08)
    assert sign_flip(values) == sign_flip(values), "seeded"


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed", "outlier"])
def test_far_tails_are_those_of_the_enumeration(kind: str) -> None:
    rng, checked = np.random.default_rng(3), 0
    for _ in range(12):
        sizes = {
            "normal": np.abs(rng.normal(size=16)),
            "heavy": np.abs(rng.standard_t(2, size=16)),
            "skewed": rng.exponential(size=16),
            "outlier": np.r_[np.abs(rng.normal(size=15)), 8.0],
        }[kind]
        values = np.where(rng.random(16) < 0.1, sizes, -sizes)
        exact = sign_flip(values)
        if 2.0**-14 < exact < 0.0025:
            found = module._saddlepoint(sizes, -float(values.sum()))
            assert found == pytest.approx(exact, rel=0.5)
            checked += 1
    assert checked >= 3
    assert module._saddlepoint(sizes, float(sizes.sum())) == 2.0**-16


def test_a_clear_fall_has_a_p_value_far_below_what_draws_resolve() -> None:
    values = np.random.default_rng(0).normal(size=400) - 0.5
    expected = stats.ttest_1samp(values, 0, alternative="less").pvalue
    found = sign_flip(values)
    assert 0 < found < 1e-12
    assert math.log(found) == pytest.approx(math.log(expected), rel=0.2)
    assert sign_flip(-values) == 1.0


def test_nothing_changed_says_nothing() -> None:
    assert sign_flip([0.0, 0.0]) == 1.0
    assert critical_fall([0.0, 0.0]) == detectable_fall([0.0]) == 0.0
    assert mean_interval([0.0], level=0.9) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [[], [[1.0]], [1.0, math.nan], [math.inf]])
def test_bad_differences(bad: list[float]) -> None:
    for function in (sign_flip, critical_fall, detectable_fall):
        with pytest.raises(ValueError, match="difference"):
            function(bad)


def test_the_interval_is_scipys() -> None:
    values = np.random.default_rng(2).exponential(size=30)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, level=0.9) == pytest.approx((expected.low, expected.high))
    assert mean_interval([3.0], level=0.9) == (-math.inf, math.inf)


def test_the_critical_fall_is_where_significance_begins() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=500)
    values -= values.mean()
    fall = critical_fall(values, alpha=0.01)
    assert sign_flip(values - 1.1 * fall) < 0.01 < sign_flip(values - 0.9 * fall)
    assert standard_error(1e200 * values) == pytest.approx(1e200 * standard_error(values))


def test_the_detectable_fall_is_found_with_the_power_stated() -> None:
    rng, trials = np.random.default_rng(9), 100
    fall = detectable_fall(rng.normal(size=200), alpha=0.05, power=0.8)
    found = sum(sign_flip(rng.normal(size=200) - fall) <= 0.05 for _ in range(trials))
    # one estimate of the noise is some percent off
    assert 0.65 < found / trials < 0.92
