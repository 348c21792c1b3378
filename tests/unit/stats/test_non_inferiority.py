from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.stats.non_inferiority import BudgetOutcome, non_inferior, non_inferior_scores, tango

COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 400)).filter(any)


@given(COUNTS, st.sampled_from([0.8, 0.9, 0.95]))
def test_the_interval_holds_the_change_and_mirrors(
    counts: tuple[int, int, int], level: float
) -> None:
    won, lost, same = counts
    total = won + lost + same
    low, high = tango(won, lost, total, level=level)
    assert -1 <= low <= (won - lost) / total <= high <= 1
    assert tango(lost, won, total, level=level) == pytest.approx((-high, -low), abs=1e-9)
    wide = tango(won, lost, total, level=0.99)
    assert wide[0] <= low + 1e-12
    assert wide[1] >= high - 1e-12


def test_the_ends_are_where_the_score_is_z() -> None:
    """By the definition: the share of losses that is most likely under the assumed change."""
    won, lost, total, level = 7, 12, 300, 0.9
    for end, sign in zip(tango(won, lost, total, level=level), (1, -1), strict=True):
        shares = np.linspace(max(0.0, -end), 1, 200_001)[1:-1]
        same = 1 - 2 * shares - end
        real = (same > 0) & (shares + end > 0)
        q, r = shares[real], same[real]
        likelihood = won * np.log(q + end) + lost * np.log(q) + (total - won - lost) * np.log(r)
        share = q[np.argmax(likelihood)]
        spread = math.sqrt(total * (2 * share + end * (1 - end)))
        assert (won - lost - total * end) / spread == pytest.approx(sign * 1.6449, abs=2e-3)


def test_without_a_change_it_is_the_wilson_bound() -> None:
    # z^2 / (n + z^2), as for 0 of n
    low, high = tango(0, 0, 1000, level=0.9)
    assert (-low, high) == pytest.approx((1.6449**2 / (1000 + 1.6449**2),) * 2, rel=1e-3)


def test_a_budget_is_kept_broken_or_not_shown() -> None:
    kept = non_inferior(5, 5, 5000, max_drop=0.005)
    assert (kept.outcome, kept.needed) == (BudgetOutcome.KEPT, 5000)
    assert kept.low > -0.005
    broken = non_inferior(2, 80, 2000, max_drop=0.005)
    assert (broken.outcome, broken.needed) == (BudgetOutcome.BROKEN, None)
    assert broken.high < -0.005
    open_ = non_inferior(5, 8, 1000, max_drop=0.005)
    assert open_.outcome is BudgetOutcome.NOT_SHOWN
    assert open_.needed is not None
    assert open_.needed > 1000


@pytest.mark.parametrize(("won", "lost", "total"), [(5, 8, 1000), (0, 0, 100), (2, 9, 2000)])
def test_the_samples_needed_would_show_it_and_fewer_would_not(
    won: int, lost: int, total: int
) -> None:
    found = non_inferior(won, lost, total, max_drop=0.005)
    assert found.needed is not None

    def low(samples: int) -> float:
        return tango(won / total * samples, lost / total * samples, samples, level=0.9)[0]

    assert low(found.needed) > -0.005 >= low(found.needed - 1)


def test_no_number_of_samples_shows_what_is_not_so() -> None:
    assert non_inferior(0, 10, 1000, max_drop=0.01).needed is None
    assert non_inferior(0, 11, 1000, max_drop=0.01).needed is None


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.floats(0, 0.5))
def test_real_scores_have_one_outcome_by_the_interval(values: list[float], drop: float) -> None:
    found = non_inferior_scores(values, max_drop=drop, span=1.0)
    assert found.low <= found.high
    if found.outcome is BudgetOutcome.KEPT:
        assert found.low > -drop or not any(values)
    elif found.outcome is BudgetOutcome.BROKEN:
        assert found.high < -drop
    else:
        assert found.low <= -drop <= found.high


def test_a_loss_that_few_samples_would_have_is_reckoned_with() -> None:
    few = [0.001] * 50
    assert non_inferior_scores(few, max_drop=0.01, span=1.0).outcome is BudgetOutcome.NOT_SHOWN
    assert non_inferior_scores(few * 100, max_drop=0.01, span=1.0).outcome is BudgetOutcome.KEPT


def test_real_scores_say_how_many_samples_would_show_it() -> None:
    values = np.random.default_rng(0).normal(size=200) * 0.1
    values -= values.mean()
    found = non_inferior_scores(values, max_drop=0.005, span=1.0)
    assert found.outcome is BudgetOutcome.NOT_SHOWN
    assert found.needed is not None
    repeats = math.ceil(found.needed / 200) + 1
    again = non_inferior_scores(np.tile(values, repeats), max_drop=0.005, span=1.0)
    assert again.outcome is BudgetOutcome.KEPT
    fewer = non_inferior_scores(np.tile(values, repeats - 2), max_drop=0.005, span=1.0)
    assert fewer.outcome is BudgetOutcome.NOT_SHOWN
    assert non_inferior_scores(values - 1, max_drop=0.005, span=2.0).outcome is BudgetOutcome.BROKEN


def test_real_scores_of_0_and_1_are_judged_about_as_shares() -> None:
    values = [1.0] * 20 + [-1.0] * 30 + [0.0] * 950
    real = non_inferior_scores(values, max_drop=0.02, span=1.0)
    share = non_inferior(20, 30, 1000, max_drop=0.02)
    assert (real.low, real.high) == pytest.approx((share.low, share.high), abs=6e-4)


@pytest.mark.parametrize("drop", [-0.1, math.nan, math.inf])
def test_an_impossible_budget(drop: float) -> None:
    with pytest.raises(ValueError, match="largest drop"):
        non_inferior(1, 1, 10, max_drop=drop)
    with pytest.raises(ValueError, match="largest drop"):
        non_inferior_scores([0.0], max_drop=drop)


def test_bad_counts_levels_and_spans() -> None:
    with pytest.raises(ValueError, match="won and"):
        tango(6, 5, 10, level=0.9)
    with pytest.raises(ValueError, match="level"):
        non_inferior(1, 1, 10, max_drop=0.1, level=0.4)
    with pytest.raises(ValueError, match="span"):
        non_inferior_scores([2.0], max_drop=0.1, span=1.0)
