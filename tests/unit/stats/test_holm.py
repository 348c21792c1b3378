from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.stats.holm import FAMILY_ALPHA, TESTS, family_alpha, holm

# Few distinct values, so that ties and exact hits of a level are common.
P_VALUES = st.lists(
    st.sampled_from([0.0, 0.01 / 7, 0.0025, 0.01 / 3, 0.005, 0.01, 0.02, 0.5, 1.0])
    | st.floats(0, 1),
    max_size=7,
)


def _by_closed_testing(p_values: list[float], which: int, alpha: float) -> bool:
    """Rejected if Bonferroni rejects every intersection of hypotheses that it is part of."""
    others = [p for n, p in enumerate(p_values) if n != which]
    subsets = (s for size in range(len(others) + 1) for s in combinations(others, size))
    return all(min(p_values[which], *s, 1.0) <= alpha / (len(s) + 1) for s in subsets)


@given(P_VALUES)
def test_holm_is_closed_testing_with_bonferroni(p_values: list[float]) -> None:
    expected = tuple(_by_closed_testing(p_values, n, FAMILY_ALPHA) for n in range(len(p_values)))
    assert holm(p_values) == expected


@pytest.mark.parametrize(
    ("p_values", "alpha", "rejected"),
    [
        # sorted 0.005 <= 0.0125, 0.01 <= 0.0167, 0.03 > 0.025: stops there
        ((0.01, 0.04, 0.03, 0.005), 0.05, (True, False, False, True)),
        # Bonferroni would reject the first alone; Holm's second level is 0.025
        ((0.01, 0.02), 0.025, (True, True)),
        # 0.013 would pass at the second level, but the first one stops the procedure
        ((0.02, 0.013, 0.9), 0.03, (False, False, False)),
        ((), 0.05, ()),
        ((0.05,), 0.05, (True,)),
    ],
)
def test_examples_by_hand(
    p_values: tuple[float, ...], alpha: float, rejected: tuple[bool, ...]
) -> None:
    assert holm(p_values, alpha=alpha) == rejected


@given(P_VALUES, st.floats(0, 1), st.integers(0, 6))
def test_a_smaller_p_value_never_saves_a_hypothesis(
    p_values: list[float], factor: float, which: int
) -> None:
    if which < len(p_values):
        smaller = [p * factor if n == which else p for n, p in enumerate(p_values)]
        pairs = zip(holm(p_values), holm(smaller), strict=True)
        assert all(after or not before for before, after in pairs)


@given(P_VALUES, st.floats(0, 1), st.floats(0, 1))
def test_a_stricter_level_rejects_no_more(p_values: list[float], a: float, b: float) -> None:
    pairs = zip(holm(p_values, alpha=min(a, b)), holm(p_values, alpha=max(a, b)), strict=True)
    assert all(loose or not strict for strict, loose in pairs)


@given(st.integers(1, 40), st.data())
def test_judging_case_by_case_is_holms_first_step(cases: int, data: st.DataObject) -> None:
    level = family_alpha(cases)
    near = st.sampled_from([level, level * 0.999, level * 1.001, 1.0])
    p_values = data.draw(st.lists(near, min_size=cases * TESTS, max_size=cases * TESTS))
    assert any(p <= level for p in p_values) == any(holm(p_values))


def test_the_level_is_shared_out_and_no_run_is_empty() -> None:
    assert family_alpha(1) == FAMILY_ALPHA / 2
    assert family_alpha(50) == pytest.approx(FAMILY_ALPHA / 100)
    with pytest.raises(ValueError, match="0 cases"):
        family_alpha(0)
