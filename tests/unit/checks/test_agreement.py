from __future__ import annotations

import re

import pytest

from qreg.checks.agreement import agreement_p_value, judge_agreement
from qreg.records.baseline import Snapshot
from qreg.records.verdict import Check, Finding, Outcome
from qreg.stats.mcnemar import lost_more
from tests.unit.checks import given
from tests.unit.checks.given import ALPHA

BEFORE = given.with_numerics(given.snapshot(), disagreements=(0, 1, 2))


def _found(now: Snapshot, before: Snapshot = BEFORE, *, exact: bool = False) -> list[Finding]:
    shared = given.shared(now, before)
    return list(judge_agreement(now, before, shared, exact=exact, alpha=ALPHA))


def _unlike_fp32(*index: int) -> Snapshot:
    return given.with_numerics(BEFORE, disagreements=index)


@pytest.mark.parametrize("exact", [False, True])
def test_the_same_is_no_finding(exact: bool) -> None:
    assert _found(BEFORE, exact=exact) == []


def test_following_fp32_significantly_less_is_a_regression() -> None:
    assert 0.5**8 <= ALPHA < 0.5**7
    assert _found(_unlike_fp32(0, 1, 2, *range(10, 17))) == []
    (found,) = _found(_unlike_fp32(0, 1, 2, *range(10, 18)))
    assert (found.check, found.outcome) == (Check.AGREEMENT, Outcome.REGRESSED)
    assert found.expected.startswith("3 of 40 ")
    assert found.observed == "11"
    assert re.search(r"\b8 \D*no longer.*\b0\b", found.where)
    assert found.p_value == lost_more(0, 8)


@pytest.mark.parametrize(("alpha", "count"), [(1 / 256, 1), (1 / 257, 0)])
def test_a_level_that_is_just_reached_is_enough(alpha: float, count: int) -> None:
    now = _unlike_fp32(0, 1, 2, *range(10, 18))
    shared = given.shared(now, BEFORE)
    assert len(list(judge_agreement(now, BEFORE, shared, exact=False, alpha=alpha))) == count


@pytest.mark.parametrize(
    ("index", "lost", "won"), [((0, 1, 2), 0, 0), ((0, 1, 2, 9), 1, 0), ((2, 5, 6, 7), 3, 2)]
)
def test_its_p_value_is_that_of_following_less(index: tuple[int, ...], lost: int, won: int) -> None:
    now = _unlike_fp32(*index)
    assert agreement_p_value(given.shared(now, BEFORE)) == lost_more(won, lost)


def test_it_is_paired_image_by_image() -> None:
    (found,) = _found(_unlike_fp32(*range(10, 25)))
    assert re.search(r"\b15 \D*no longer.*\b3\b", found.where)
    assert found.p_value == lost_more(3, 15)


def test_following_it_more_is_an_improvement() -> None:
    (found,) = _found(BEFORE, _unlike_fp32(*range(20)))
    assert found.outcome is Outcome.IMPROVED
    assert re.search(r"\b0 \D*no longer.*\b17\b", found.where)


def test_exactly_every_image_counts() -> None:
    for index in ((0, 1), (0, 1, 2, 30), (0, 1, 3)):
        assert _found(_unlike_fp32(*index)) == []
        (found,) = _found(_unlike_fp32(*index), exact=True)
        assert found.outcome is Outcome.REGRESSED


def test_only_shared_images_count() -> None:
    now = given.with_numerics(given.with_rows(BEFORE, [*range(8)]), disagreements=(0, 1, 2))
    before = _unlike_fp32(0, 1, 2, *range(8, 40))
    assert _found(now, before, exact=True) == []


@pytest.mark.parametrize("exact", [False, True])
def test_a_model_that_became_fp32_is_not_quantized(exact: bool) -> None:
    now = given.with_numerics(BEFORE, reference=BEFORE.numerics.logits.digest)
    found = _found(now, exact=exact)
    assert "nothing is quantized" in found[-1].observed
    assert found[-1].outcome is Outcome.REGRESSED
    assert _found(now, now, exact=exact) == [], "a model without a layer to quantize may be fp32"


def test_fp32_itself_has_nothing_to_follow() -> None:
    fp32 = given.with_numerics(BEFORE, reference="", disagreements=())
    assert _found(fp32, fp32, exact=True) == []
    assert _found(fp32, BEFORE) == []


def test_exactly_fp32_itself_must_not_move() -> None:
    now = given.with_numerics(BEFORE, reference="0" * 64)
    assert _found(now) == []
    (found,) = _found(now, exact=True)
    assert found.outcome is Outcome.REGRESSED
    assert "fp32" in found.expected
    fewer = given.with_rows(now, [*range(5)])
    assert _found(fewer, exact=True) == [], "of other images its logits are others"
