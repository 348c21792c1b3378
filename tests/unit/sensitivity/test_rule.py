from __future__ import annotations

import pytest

from qreg.records.budget import BudgetOutcome
from qreg.records.score import Score
from qreg.sensitivity.rule import (
    noise_shares,
    ranking,
    score_effect,
    shortest,
    that_matter,
    ties,
    verified,
)


def _score(values: list[float], *, predictions: list[int] | None = None) -> Score:
    return Score(
        task="classification", name="right", higher_is_better=True, binary=True,
        index=tuple(range(len(values))), values=tuple(values), summary="accuracy", unit="%",
        value=sum(values) / len(values), span=1.0,
        predictions=None if predictions is None else tuple(predictions),
    )  # fmt: skip


def test_noise_is_shared_out() -> None:
    assert noise_shares([3.0, 1.0]) == (0.75, 0.25)
    assert noise_shares([0.0, 0.0]) == (0.0, 0.0)
    # a site whose outputs are not finite is the worst, not the best
    assert noise_shares([1.0, float("nan")]) == (0.0, 1.0)


def test_the_number_of_sites_that_matter_is_bounded() -> None:
    """However many sites there are, and however alike."""
    assert that_matter([0.9] + [0.001] * 100) == (0,)
    assert len(that_matter(noise_shares([1.0] * 40))) == 40
    assert len(that_matter(noise_shares([1.0] * 200))) == 1
    assert that_matter([0.0]) == (0,)


def test_ranking_is_by_drop_then_by_noise() -> None:
    assert ranking([0.0, 0.1, None, 0.1, None], [0.1, 0.2, 0.05, 0.3, 0.06]) == (3, 1, 0, 4, 2)


def test_sites_that_cannot_be_told_apart_are_tied() -> None:
    right = [1.0] * 100
    bad, as_bad = [0.0] * 50 + right[50:], [0.0] * 49 + right[49:]
    found = ties([_score(bad), _score(as_bad), _score(right), _score(right)], None)
    assert found == (False, True, False, True)


def test_an_effect_has_drop_and_flips() -> None:
    before = _score([1.0] * 100, predictions=[1] * 100)
    now = _score([0.0] * 20 + [1.0] * 80, predictions=[0] * 20 + [1] * 80)
    found = score_effect(now, before, None)
    assert found.drop == pytest.approx(0.2)
    assert found.flips == 20
    assert found.p_value == pytest.approx(2 * 0.5**20)


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [(0, BudgetOutcome.KEPT), (12, BudgetOutcome.NOT_SHOWN), (60, BudgetOutcome.BROKEN)],
)
def test_a_budget_is_judged_by_non_inferiority(lost: int, outcome: BudgetOutcome) -> None:
    before, now = _score([1.0] * 1000), _score([0.0] * lost + [1.0] * (1000 - lost))
    found = verified(now, before, max_drop=0.01, summarize=None)
    assert found.outcome is outcome
    assert found.drop == pytest.approx(lost / 1000)
    assert found.low <= found.drop <= found.high


@pytest.mark.parametrize("needed", [{"a"}, {"c"}, {"b", "e"}, {"a", "b", "c", "d", "e"}, set()])
def test_the_shortest_list_has_what_is_needed_and_no_more(needed: set[str]) -> None:
    kept, found = shortest("abcde", lambda keep: needed <= set(keep))
    assert found
    assert set(kept) == needed


def test_where_nothing_suffices_all_is_tried() -> None:
    assert shortest("abc", lambda _: False) == (("a", "b", "c"), False)


def test_few_lists_are_tried() -> None:
    """Bisection, then one try for each layer that is kept: each try is a run of all samples."""
    tried: list[tuple[str, ...]] = []

    def within(keep: tuple[str, ...]) -> bool:
        tried.append(keep)
        return "3" in keep

    kept, _ = shortest([str(number) for number in range(100)], within)
    assert kept == ("3",)
    assert len(tried) < 15
