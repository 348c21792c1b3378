from __future__ import annotations

import math
import re

import numpy as np
import pytest

from qreg.checks.logits import judge_logits, nearest_allowed
from qreg.checks.tolerances import EXACT, FLOAT_DB, OTHER_FLOAT, SAME_FLOAT, Tolerances
from qreg.records.baseline import Snapshot
from qreg.records.verdict import Check, Finding, Outcome
from tests.unit.checks import given

BEFORE = given.snapshot()
LOGITS = given.logits(BEFORE)
BOTH = pytest.mark.parametrize("exact", [True, False])
LOOSE = pytest.mark.parametrize("allowed", [SAME_FLOAT, OTHER_FLOAT], ids=["same", "other"])


def _found(now: Snapshot, before: Snapshot = BEFORE, *, exact: bool) -> list[Finding]:
    return _judged(now, before, EXACT if exact else SAME_FLOAT)


def _judged(now: Snapshot, before: Snapshot, allowed: Tolerances) -> list[Finding]:
    found = list(judge_logits(now, before, given.shared(now, before), allowed))
    assert all((f.check, f.outcome) == (Check.LOGITS, Outcome.REGRESSED) for f in found)
    return found


def _where(now: Snapshot) -> str:
    (found,) = _found(now, exact=True)
    return found.where


def _at(decibels: float) -> Snapshot:
    """Logits so far from the baseline's."""
    noise = np.random.default_rng(0).normal(size=LOGITS.shape)
    power = np.square(LOGITS.astype(float)).sum() / 10 ** (decibels / 10)
    return given.with_logits(BEFORE, LOGITS + noise * math.sqrt(power / np.square(noise).sum()))


@BOTH
def test_the_same_is_no_finding(exact: bool) -> None:
    assert _found(BEFORE, exact=exact) == []


@pytest.mark.parametrize("bit", [0, 22, 23, 30, 31])
def test_exactly_every_bit_counts(bit: int) -> None:
    values = LOGITS.copy()
    values.view(np.uint32)[5, 7] ^= np.uint32(1 << bit)
    assert _where(given.with_logits(BEFORE, values)).startswith("1 of 8 ")


def test_the_digests_are_reported() -> None:
    now = given.with_logits(BEFORE, 1.001 * LOGITS)
    (found,) = _found(now, exact=True)
    assert found.expected == f"digest {BEFORE.numerics.logits.digest[:16]}"
    assert found.observed == f"digest {now.numerics.logits.digest[:16]}, 60.0 dB apart"


def test_the_sign_of_zero_is_a_bit() -> None:
    zero, minus = LOGITS.copy(), LOGITS.copy()
    zero[0, 0], minus[0, 0] = 0.0, -0.0
    now, before = given.with_logits(BEFORE, minus), given.with_logits(BEFORE, zero)
    assert len(_found(now, before, exact=True)) == 1
    assert _found(now, before, exact=False) == []


def test_what_moved_in_addition_to_the_logits_is_reported() -> None:
    assert _where(given.with_numerics(BEFORE, single="0" * 64)).startswith("1 digest ")
    flipped = (*BEFORE.predictions[:-2], 1, 1)
    assert _where(given.with_predictions(BEFORE, flipped)) == "2 predictions"
    fewer = given.with_logits(BEFORE, LOGITS[:3])
    assert re.fullmatch("5 .* one side only", _where(fewer))
    (more,) = _found(BEFORE, fewer, exact=True)
    assert re.fullmatch("5 .* one side only", more.where)


def test_elsewhere_these_may_move() -> None:
    for now in (
        given.with_numerics(BEFORE, single="0" * 64),
        given.with_predictions(BEFORE, (*BEFORE.predictions[:-1], 1)),
        given.with_logits(BEFORE, LOGITS[:3]),
    ):
        assert _found(now, exact=False) == []


@LOOSE
def test_what_is_allowed_follows_the_quantization_noise(allowed: Tolerances) -> None:
    numerics = BEFORE.numerics
    last = 31.25  # of the last layer that has an SQNR
    assert nearest_allowed(numerics, allowed) == last + allowed.logits_db
    nothing = given.with_numerics(BEFORE, layers=numerics.layers[-1:]).numerics
    assert nearest_allowed(nothing, allowed) == allowed.logits_db
    equal = given.with_layer(BEFORE, 3, sqnr_db=200.0).numerics
    assert nearest_allowed(equal, allowed) == FLOAT_DB


@LOOSE
def test_elsewhere_logits_have_their_tolerance(allowed: Tolerances) -> None:
    least = nearest_allowed(BEFORE.numerics, allowed)
    assert _judged(_at(least + 0.1), BEFORE, allowed) == []
    (found,) = _judged(_at(least - 0.1), BEFORE, allowed)
    assert found.observed == f"logits {least - 0.1:.1f} dB from them"
    assert found.allowed == f"at least {least:.1f} dB"
    assert found.where.startswith("8 ")


@LOOSE
def test_how_large_logits_are_does_not_matter(allowed: Tolerances) -> None:
    near, far = (_at(nearest_allowed(BEFORE.numerics, allowed) + d) for d in (0.1, -0.1))
    for factor in (2.0**-20, 2.0**20):
        before = given.with_logits(BEFORE, factor * LOGITS)
        assert _judged(given.with_logits(near, factor * given.logits(near)), before, allowed) == []
        assert _judged(given.with_logits(far, factor * given.logits(far)), before, allowed)


@BOTH
def test_logits_that_are_no_numbers_are_never_right(exact: bool) -> None:
    values = LOGITS.copy()
    values[3, 0] = values[6, 1] = np.nan
    broken = given.with_logits(BEFORE, values)
    (found,) = _found(broken, exact=exact)
    assert found.observed == "NaN"
    assert found.where.startswith("2 of 8 ")
    assert len(_found(broken, broken, exact=exact)) == 1
    assert len(_found(BEFORE, broken, exact=exact)) == 1


@BOTH
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_logits_on_one_side(value: float, exact: bool) -> None:
    values = LOGITS.copy()
    values[0, 0] = value
    endless = given.with_logits(BEFORE, values)
    assert len(_found(endless, exact=exact)) == 1
    assert len(_found(BEFORE, endless, exact=exact)) == 1


@BOTH
def test_other_classes(exact: bool) -> None:
    (found,) = _found(given.with_logits(BEFORE, LOGITS[:, :9]), exact=exact)
    assert found.where.startswith("8 ")


@BOTH
def test_only_images_that_both_have_count(exact: bool) -> None:
    fewer = given.with_rows(BEFORE, [0, 1, 2, 3, 20])
    assert _found(fewer, exact=exact) == []
    values = given.logits(fewer)
    values[1] *= 3
    (found,) = _found(given.with_logits(fewer, values), exact=exact)
    assert found.where.startswith("1 of 4 " if exact else "4 ")


def test_a_baseline_of_zeros_alone() -> None:
    zeros = given.with_logits(BEFORE, np.zeros_like(LOGITS))
    assert _found(zeros, zeros, exact=False) == []
    assert len(_found(BEFORE, zeros, exact=False)) == 1


def test_no_image_with_logits_in_common() -> None:
    seen = BEFORE.numerics.images
    now = given.with_rows(BEFORE, [0, 30])
    before = given.with_rows(BEFORE, [1, 30])
    assert seen.index[30] == 30
    assert _found(now, before, exact=False) == []
