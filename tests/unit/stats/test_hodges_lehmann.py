from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qreg.stats.hodges_lehmann import (
    MOST_PAIRED,
    critical_sum,
    hodges_lehmann,
    shift_interval,
    signed_rank_tail,
    walsh_average,
    walsh_averages,
)

VALUES = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=10)


@given(VALUES)
def test_the_estimate_is_the_median_of_all_pairs_means(values: list[float]) -> None:
    means = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)]
    assert hodges_lehmann(values) == pytest.approx(np.median(means))
    assert sorted(means) == pytest.approx(walsh_averages(values).tolist())


@pytest.mark.parametrize("pairs", [1, 2, 5, 8, 10])
def test_the_null_distribution_is_that_of_all_signs(pairs: int) -> None:
    signs = np.array(list(itertools.product((0, 1), repeat=pairs)))
    sums = np.array(
        [sum(r * s for r, s in zip(range(1, pairs + 1), one, strict=True)) for one in signs]
    )
    largest = pairs * (pairs + 1) // 2
    assert signed_rank_tail(pairs).tolist() == [np.mean(sums >= w) for w in range(largest + 1)]


@pytest.mark.parametrize("alpha", [0.01, 0.004, 0.003, 0.0003])
def test_the_critical_sum_is_scipys(alpha: float) -> None:
    for pairs in (8, 12, 16):
        critical = critical_sum(pairs, alpha)
        if critical is None:
            assert 2.0**-pairs > alpha
            continue
        assert _scipys_p(pairs, critical) <= alpha < _scipys_p(pairs, critical - 1)


def _scipys_p(pairs: int, rank_sum: int) -> float:
    """The p-value of values whose positive ranks have that sum."""
    values, left = np.arange(1.0, pairs + 1), pairs * (pairs + 1) // 2 - rank_sum
    for rank in range(pairs, 0, -1):
        if rank <= left:
            values[rank - 1] *= -1
            left -= rank
    assert left == 0
    found = stats.wilcoxon(values, alternative="greater", method="exact")
    assert found.statistic == rank_sum
    return float(found.pvalue)


@pytest.mark.parametrize("pairs", [8, 12, 16])
def test_a_shift_outside_the_interval_is_significant_and_inside_is_not(pairs: int) -> None:
    values = np.random.default_rng(pairs).normal(size=pairs)
    low, high = shift_interval(values.tolist(), level=0.99)

    def p_value(shift: float, side: str) -> float:
        found = stats.wilcoxon(values - shift, alternative=side, method="exact")
        return float(found.pvalue)

    assert p_value(low - 1e-9, "greater") <= 0.005 < p_value(low + 1e-9, "greater")
    assert p_value(high + 1e-9, "less") <= 0.005 < p_value(high - 1e-9, "less")


def test_the_interval_covers_as_often_as_it_says() -> None:
    noise = np.random.default_rng(3).standard_t(3, size=(2000, 12)) + 0.7
    held = sum(low <= 0.7 <= high for low, high in (shift_interval(n, level=0.9) for n in noise))
    assert stats.binomtest(held, 2000).proportion_ci(0.99).high >= 0.9


def test_eight_values_have_an_interval_of_99_percent_and_seven_have_not() -> None:
    assert shift_interval([1.0, 2, 3, 4, 5, 6, 7, 8], level=0.99) == (1.0, 8.0)
    with pytest.raises(ValueError, match="7 values"):
        shift_interval([1.0, 2, 3, 4, 5, 6, 7], level=0.99)
    with pytest.raises(ValueError, match="no values"):
        hodges_lehmann([])


@given(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12), st.data())
def test_an_average_is_found_without_forming_all(values: list[float], data: st.DataObject) -> None:
    averages = walsh_averages(values)
    position = data.draw(st.integers(0, len(averages) - 1))
    assert walsh_average(values, position) == pytest.approx(averages[position], abs=1e-12)


def test_many_values_have_the_estimate_and_interval_of_all_pairs() -> None:
    values = np.random.default_rng(0).normal(size=MOST_PAIRED + 50)
    averages = walsh_averages(values)
    assert hodges_lehmann(values) == pytest.approx(np.median(averages), abs=1e-12)
    low, high = shift_interval(values, level=0.9)
    critical = critical_sum(len(values), 0.05)
    assert critical is not None
    assert high == pytest.approx(averages[critical - 1], abs=1e-12)
    assert low == pytest.approx(averages[len(averages) - critical], abs=1e-12)


def test_the_approximate_critical_sum_continues_the_exact_one() -> None:
    exact, approximate = critical_sum(MOST_PAIRED, 0.001), critical_sum(MOST_PAIRED + 1, 0.001)
    assert exact is not None
    assert approximate is not None
    # one pair more adds a mean rank of half of it
    assert 0 <= approximate - exact <= MOST_PAIRED


def test_ten_thousand_values_are_no_burden() -> None:
    values = np.random.default_rng(1).normal(size=10_000) + 3
    low, high = shift_interval(values, level=0.99)
    assert low < hodges_lehmann(values) < high
    assert high - low < 0.1
