from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qreg.stats.signed_rank import EXACT, signed_rank, typical_change

FEW = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=8)


@given(FEW)
def test_it_counts_all_signs_of_the_ranks_with_ties(values: list[float]) -> None:
    moved = np.array([value for value in values if value])
    if not len(moved):
        assert signed_rank(values) == 1.0
        return
    ranks = stats.rankdata(np.abs(moved))
    ways = [
        ranks[np.array(one)].sum() for one in itertools.product((False, True), repeat=len(moved))
    ]
    expected = np.mean([way <= ranks[moved > 0].sum() for way in ways])
    assert signed_rank(values) == pytest.approx(expected)


@pytest.mark.parametrize("count", [5, 20, 40])
def test_without_ties_it_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count) - 0.3
    expected = stats.wilcoxon(values, alternative="less", method="exact").pvalue
    assert signed_rank(values) == pytest.approx(expected)


def test_the_approximation_continues_the_exact_distribution() -> None:
    values = np.random.default_rng(0).normal(size=EXACT) - 0.1
    exact = signed_rank(values)
    approximate = stats.wilcoxon(values, alternative="less", correction=True, method="approx")
    assert exact == pytest.approx(approximate.pvalue, rel=0.05)
    more = np.random.default_rng(0).normal(size=EXACT + 1) - 0.1
    assert 0 < signed_rank(more) < 0.5


@given(FEW)
def test_order_zeros_and_the_unit_do_not_matter(values: list[float]) -> None:
    expected = signed_rank(values)
    assert signed_rank([*values[::-1], 0.0]) == pytest.approx(expected)
    assert signed_rank([3 * value for value in values]) == pytest.approx(expected)


def test_a_few_large_losses_against_many_small_gains_are_no_fall_of_the_typical_change() -> None:
    values = np.array([0.01] * 90 + [-0.2] * 10) + np.linspace(0, 1e-4, 100)
    assert values.mean() < 0
    assert signed_rank(values) > 0.99
    estimate, low, high = typical_change(values, level=0.9)
    assert 0 < low <= estimate <= high


def test_the_typical_change_has_an_interval_however_few_there_are() -> None:
    assert typical_change([1.0, 3.0], level=0.99) == (2.0, 1.0, 3.0)
    assert typical_change([0.0], level=0.99) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="differences"):
        typical_change([], level=0.9)
