"""The rule of the calibration audit, against distributions and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from qreg.calibration.records import DrawResult, RangeSite, SizeSummary
from qreg.calibration.rule import drift, enough, summarize_size, wander, with_drift


def results(scores: list[float], size: int = 8) -> list[DrawResult]:
    return [DrawResult(size, seed, score) for seed, score in enumerate(scores)]


def test_the_intervals_are_those_of_a_normal_sample() -> None:
    scores = [0.5, 0.52, 0.49, 0.55]
    found = summarize_size(results(scores))
    spread = float(np.std(scores, ddof=1))
    assert found.mean == pytest.approx(np.mean(scores))
    assert found.spread == pytest.approx(spread)
    ends = [spread * math.sqrt(3 / stats.chi2.ppf(share, 3)) for share in (0.975, 0.025)]
    assert (found.spread_low, found.spread_high) == pytest.approx(tuple(ends))
    half = stats.t.ppf(0.975, 3) * spread * math.sqrt(1.25)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))
    with pytest.raises(ValueError, match="no spread"):
        summarize_size(results([0.5]))


def test_a_further_draw_lies_within_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *seen, further = rng.normal(size=6)
        found = summarize_size(results(seen))
        inside += found.low <= further <= found.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def of(size: int, low: float, mean: float, high: float) -> SizeSummary:
    return SizeSummary(size, 5, mean, 0.1, 0.05, 0.2, low, high)


def test_enough_is_the_smallest_size_from_which_on_it_holds() -> None:
    wide, narrow = of(8, 0.2, 0.5, 0.8), of(16, 0.45, 0.5, 0.55)
    last = of(64, 0.49, 0.5, 0.51)
    assert enough([wide, narrow, last], 0.1) == 16
    assert enough([last, narrow, wide], 0.02) == 64
    assert enough([narrow, of(32, 0.1, 0.5, 0.9), last], 0.1) == 64  # not by chance
    assert enough([wide, narrow, last], 0.001) is None
    assert enough([of(8, 0.2, 0.21, 0.22), last], 0.1) == 64  # another mean


def test_drift_has_a_direction_and_a_level() -> None:
    rng = np.random.default_rng(1)
    same, other = rng.normal(size=400), rng.normal(size=300)
    larger, p_value = drift(same, other)
    assert larger == pytest.approx(0.5, abs=0.08)
    assert p_value > 0.001
    larger, p_value = drift(same + 1, other)
    assert larger > 0.7
    assert p_value < 1e-6
    assert drift(np.ones(5), np.ones(6)) == (0.5, 1.0)


def test_sites_drift_by_holm() -> None:
    def site(p_value: float | None) -> RangeSite:
        return RangeSite("conv", 0.1, 0.01, (0, 0), p_value=p_value)

    found = with_drift([site(0.001), site(None), site(0.004), site(0.02)])
    assert [one.drifts for one in found] == [True, False, True, False]


def test_wandering_is_relative() -> None:
    assert wander([0.1, 0.1, 0.1]) == pytest.approx(0)
    assert wander([1.0, 1.1]) == pytest.approx(wander([10.0, 11.0]))
