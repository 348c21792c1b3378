from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from qreg.stats.intervals import clopper_pearson, paired_change, wilson


def test_wilson_against_a_published_value() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998),
    # table I: 81 of 263, score method.
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("correct", "total"), [(0, 7), (1, 7), (7, 7), (6391, 9980), (1, 10**6)])
def test_wilson_is_scipys(correct: int, total: int) -> None:
    found = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert wilson(correct, total) == pytest.approx((found.low, found.high), abs=1e-12)


def test_wilson_stays_within_a_share() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


@pytest.mark.parametrize(("correct", "total"), [(3, 2), (-1, 4)])
def test_impossible_counts(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        wilson(correct, total)


@pytest.mark.parametrize(("won", "lost", "total"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_changes(won: int, lost: int, total: int) -> None:
    with pytest.raises(ValueError, match="won and"):
        paired_change(won, lost, total)


def test_the_change_is_the_paired_difference() -> None:
    change, low, high = paired_change(13, 11, 1000)
    assert change == pytest.approx(0.002)
    assert low < 0 < change < high


def test_no_flips_still_leave_doubt() -> None:
    change, low, high = paired_change(0, 0, 100)
    assert change == 0
    assert low == pytest.approx(-high)
    assert high > 0


def test_it_turns_over_with_its_sign() -> None:
    change, low, high = paired_change(5, 20, 500)
    assert paired_change(20, 5, 500) == pytest.approx((-change, -high, -low))


@pytest.mark.parametrize("rates", [(0.02, 0.02), (0.01, 0.03), (0.002, 0.004)])
def test_its_interval_covers_as_often_as_it_says(rates: tuple[float, float]) -> None:
    up, down = rates
    rng = np.random.default_rng(0)
    counts = rng.multinomial(1000, [up, down, 1 - up - down], size=2000)
    covered = 0
    for won, lost, _ in counts:
        _, low, high = paired_change(int(won), int(lost), 1000)
        covered += low <= up - down <= high
    # 95 %; four standard errors of 2,000 trials are 2 points
    assert covered / 2000 > 0.93


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.3084971), (5, 10, 0.1870860, 0.8129140), (10, 10, 0.6915029, 1.0)],
)
def test_clopper_pearson_as_published(count: int, total: int, low: float, high: float) -> None:
    assert clopper_pearson(count, total) == pytest.approx((low, high), abs=1e-7)


@pytest.mark.parametrize("count", [1, 3, 19])
def test_clopper_pearson_leaves_half_of_the_error_on_either_side(count: int) -> None:
    low, high = clopper_pearson(count, 20, level=0.9)
    assert 1 - special.bdtr(count - 1, 20, low) == pytest.approx(0.05)
    assert special.bdtr(count, 20, high) == pytest.approx(0.05)


@pytest.mark.parametrize(("count", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_clopper_pearson_refuses_what_is_no_share(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="of"):
        clopper_pearson(count, total)
