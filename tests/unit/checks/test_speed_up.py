from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.checks.speed_up import (
    LOOKS,
    check_promise,
    expected,
    is_detectable,
    judge_promise,
    lowest,
    spread,
    suspicious,
    times,
)
from qreg.checks.tolerances import PROMISE_LEVEL, SMALLEST_SPREAD
from qreg.records.baseline import Approval, Promise
from qreg.records.verdict import Check, Outcome
from tests.unit.baselines import build

APPROVED = (Approval("because", "2026-01-01T00:00:00Z", "", "0.1.0"),)
ALPHA = 1e-4


def promise(*logs: float) -> Promise:
    return Promise(build.CASE, build.ENVIRONMENT, 8, logs, APPROVED)


#: Three times as fast as fp32, give or take 3 %.
THREE = promise(*(math.log(3) + 0.03 * d for d in (-1.5, -1, -0.5, 0, 0, 0.5, 1, 1.5, -1, 1, 0, 0)))


def outcomes(*seen: float, exact: bool = True, held: Promise = THREE) -> list[Outcome]:
    check = check_promise(seen, held, exact=exact)
    return [f.outcome for f in judge_promise(check, held, exact=exact, alpha=ALPHA)]


def test_an_example_by_hand() -> None:
    held = promise(1.0, 1.1, 0.9, 1.2, 0.8)
    assert expected(held) == pytest.approx(1.0)
    assert spread(held) == pytest.approx(math.sqrt(0.1 / 4))
    # Student's t of 4 degrees: 2.776 is exceeded in 2.5 of 100
    error = math.sqrt(0.1 / 4) * math.sqrt(1 + 1 / 5)
    assert lowest(held, exact=False, alpha=0.025) == pytest.approx(0.5 - 2.776 * error, abs=1e-3)
    assert check_promise([0.5 - 2.776 * error], held, exact=False).p_value == pytest.approx(
        0.025, abs=1e-4
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_fallback_is_found_and_the_promised_speed_passes(exact: bool) -> None:
    for fallback in (0.0, -0.3, -2.0):
        assert outcomes(*[fallback] * LOOKS, exact=exact) == [Outcome.REGRESSED]
    assert outcomes(math.log(3), exact=exact) == []
    assert outcomes(math.log(30), exact=exact) == []


def test_it_is_suspicious_until_measured_often_enough() -> None:
    slow, fine = 0.0, math.log(2.9)
    flags = [suspicious([slow] * n, THREE, exact=True, alpha=ALPHA) for n in range(1, LOOKS + 1)]
    assert flags == [True] * (LOOKS - 1) + [False]
    assert not suspicious([slow, fine], THREE, exact=True, alpha=ALPHA)
    assert outcomes(*[slow] * (LOOKS - 1)) == []
    assert outcomes(slow, slow, fine) == []


def test_it_says_what_was_seen_and_what_may_be() -> None:
    check = check_promise([0.0, -0.1, math.log(1.1)], THREE, exact=False)
    (found,) = judge_promise(check, THREE, exact=False, alpha=ALPHA)
    assert found.check is Check.SPEED_UP
    assert found.expected.startswith("3.00x as fast as fp32 (2.87x to 3.14x in 12 processes)")
    assert re.fullmatch(r"1\.10x, .* of 3 .*", found.observed)
    assert times(lowest(THREE, exact=False, alpha=ALPHA)) in found.allowed
    assert found.p_value == check.p_value < ALPHA


def test_what_is_not_detectable_from_fp32_is_no_promise() -> None:
    assert is_detectable(THREE)
    as_fast = tuple(log - math.log(3) for log in THREE.log_speed_ups)
    assert not is_detectable(replace(THREE, log_speed_ups=as_fast))
    slower = tuple(-log for log in THREE.log_speed_ups)
    assert not is_detectable(replace(THREE, log_speed_ups=slower))
    wide = tuple(math.log(3) + 10 * (log - math.log(3)) for log in THREE.log_speed_ups)
    assert not is_detectable(replace(THREE, log_speed_ups=wide))


def test_numbers_that_agree_too_well_are_not_believed() -> None:
    assert spread(promise(*[1.0] * 12)) == SMALLEST_SPREAD


@given(st.lists(st.floats(-1, 3), min_size=4, max_size=16), st.floats(-1, 3), st.booleans())
def test_the_level_and_the_limit_say_the_same(logs: list[float], seen: float, exact: bool) -> None:
    held = promise(*logs)
    limit = lowest(held, exact=exact, alpha=ALPHA)
    p_value = check_promise([seen], held, exact=exact).p_value
    if abs(seen - limit) > 1e-6:
        assert (p_value <= ALPHA) == (seen < limit)


@pytest.mark.slow
def test_further_processes_hardly_ever_alarm() -> None:
    """20,000 promises from 12 normal processes, each with one process more and no load at all.

    With the whole promise kept instead of half of it the level is exact; with half it is less.
    """
    rng = np.random.default_rng(5)
    drawn = rng.normal(1.0, 0.2, (20_000, 13))
    early = sum(
        check_promise([2 * row[12] - expected(held)], held, exact=False).p_value <= 0.01
        for row in drawn
        for held in [promise(*row[:12])]
    )
    assert early <= 20_000 * 0.01
    assert PROMISE_LEVEL < 0.01


@pytest.mark.parametrize("logs", [(), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0, math.nan)])
def test_a_promise_of_nothing_is_refused(logs: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"processes|no number"):
        promise(*logs)
    with pytest.raises(ValueError, match="without an approval"):
        replace(THREE, history=())
