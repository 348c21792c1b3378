from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qreg.stats.of_sums import OfSums
from qreg.stats.permutation import EXACT, GROWTH, detectable_drop_of_summary, permutation
from qreg.stats.sign_flip import sign_flip
from qreg.tasks.summaries import f1, mean_iou, ratio_of_sums

Array = npt.NDArray[np.float64]
ROWS = st.lists(st.tuples(*[st.integers(0, 5).map(float)] * 4), min_size=1, max_size=EXACT - 4)


def _ratio(rows: Array) -> float:
    return float(rows[:, 0].sum() / (1 + rows[:, 1].sum()))


def _mean(rows: Array) -> float:
    return float(rows[:, 0].mean())


@given(ROWS)
def test_it_counts_all_exchanges(found: list[tuple[float, ...]]) -> None:
    both = np.array(found)
    now, before = both[:, :2], both[:, 2:]
    ways = []
    for mask in itertools.product((False, True), repeat=len(both)):
        choice = np.array(mask)[:, None]
        ways.append(_ratio(np.where(choice, before, now)) - _ratio(np.where(choice, now, before)))
    change = _ratio(now) - _ratio(before)
    got = permutation(now, before, _ratio)
    assert got.change == change
    assert got.p_value == pytest.approx(np.mean([way <= change + 1e-12 for way in ways]))
    assert got.better == pytest.approx(np.mean([way >= change - 1e-12 for way in ways]))


@given(ROWS)
def test_exchanging_the_models_exchanges_the_sides(found: list[tuple[float, ...]]) -> None:
    both = np.array(found)
    one = permutation(both[:, :2], both[:, 2:], _ratio)
    other = permutation(both[:, 2:], both[:, :2], _ratio)
    assert one.change == -other.change
    assert (one.p_value, one.better) == pytest.approx((other.better, other.p_value))


def test_of_a_mean_it_is_the_sign_flip_test() -> None:
    rng = np.random.default_rng(0)
    before = rng.random((9, 1))
    now = before + rng.normal(size=(9, 1)) - 0.3
    expected = sign_flip((now - before)[:, 0])
    assert permutation(now, before, _mean).p_value == pytest.approx(expected)


def test_scipys_permutation_test_says_the_same() -> None:
    rng = np.random.default_rng(4)
    before, now = rng.random((60, 2)), rng.random((60, 2)) - np.array([0.1, 0])
    rows, count = np.concatenate([now, before]), len(now)
    expected = stats.permutation_test(
        (np.arange(count), np.arange(count, 2 * count)),
        lambda a, b: _ratio(rows[a]) - _ratio(rows[b]),
        permutation_type="samples",
        vectorized=False,
        n_resamples=2000,
        alternative="less",
    )
    # four standard errors of the shares of both
    assert permutation(now, before, _ratio).p_value == pytest.approx(expected.pvalue, abs=0.12)


def test_samples_that_did_not_change_are_left_alone() -> None:
    rng = np.random.default_rng(1)
    before = rng.random((500, 2))
    now = before.copy()
    now[:6, 0] -= 0.5
    found = permutation(now, before, _ratio)
    assert found.changed == 6
    assert found.p_value == pytest.approx(2.0**-6)


def test_a_clear_fall_is_below_what_draws_resolve() -> None:
    rng = np.random.default_rng(2)
    before = rng.random((200, 2))
    found = permutation(before - np.array([0.3, 0]), before, _ratio)
    assert 2.0**-200 <= found.p_value < 1e-6
    assert found.better > 0.99
    rose = permutation(before + np.array([0.3, 0]), before, _ratio)
    assert rose.better < 1e-6 < 0.99 < rose.p_value


def test_rows_of_different_lengths_are_padded() -> None:
    before = np.array([[1.0, 2.0], [3.0, math.nan]])
    now = np.array([[1.0], [4.0]])

    def total(rows: Array) -> float:
        return float(np.nansum(rows))

    assert permutation(now, before, total).change == -1.0
    assert permutation(before, before, total).p_value == 1.0


@pytest.mark.parametrize("shapes", [((2, 1), (3, 1)), ((0, 1), (0, 1)), ((2,), (2,))])
def test_rows_that_cannot_be_paired(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="rows of shapes"):
        permutation(np.zeros(shapes[0]), np.zeros(shapes[1]), _mean)


@pytest.mark.parametrize("summarize", [f1, mean_iou, ratio_of_sums], ids=["F1", "IoU", "ratio"])
@pytest.mark.parametrize("count", [5, 60])
def test_sums_of_all_exchanged_sets_at_once_give_the_same(summarize: OfSums, count: int) -> None:
    rng = np.random.default_rng(count)
    width = {f1: 3, mean_iou: 6, ratio_of_sums: 2}[summarize]
    before = rng.integers(0, 20, (count, width)).astype(np.float64)
    now = before + rng.integers(-1, 2, (count, width))
    fast = permutation(now, before, summarize)
    plain = permutation(now, before, lambda rows: summarize(rows))
    assert (fast.change, fast.p_value, fast.better) == (plain.change, plain.p_value, plain.better)
    assert fast.spread == pytest.approx(plain.spread, rel=1e-9)
    sums = np.stack([before.sum(axis=0), now.sum(axis=0), np.zeros(width)])
    one_by_one = [summarize.one(each) for each in sums]
    assert summarize.many(sums) == pytest.approx(one_by_one, rel=1e-12)
    assert summarize.times(-1.0)(now) == -summarize(now)


def test_the_detectable_drop_allows_for_the_spread_that_a_drop_brings() -> None:
    """Errors of words: a model that makes more of them also varies more."""
    rng = np.random.default_rng(3)
    words = 1 + (np.abs(rng.normal(size=200)) * 20).astype(np.int64)

    def spread(rate: float) -> float:
        drawn = [np.stack([-rng.binomial(words, p), words], axis=1) for p in (rate, 0.12)]
        return permutation(drawn[0], drawn[1], ratio_of_sums).spread

    clean = float(np.median([spread(0.12) for _ in range(9)]))
    drop = detectable_drop_of_summary(clean, alpha=0.05, power=0.8)
    wider = float(np.median([spread(0.12 + drop) for _ in range(9)])) / clean
    assert 1.02 < wider < GROWTH
    assert drop == pytest.approx((1.6449 + 0.8416) * GROWTH * clean, rel=1e-3)
