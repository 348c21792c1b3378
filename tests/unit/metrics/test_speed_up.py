"""How often a case and its reference run while their times are compared."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from qreg.metrics.speed_up import Fastest, log_speed_up

_BURST = 3  # one to warm up, two that are timed


def working(steps: int) -> tuple[Callable[[], None], list[int]]:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        sum(range(steps))

    return work, calls


def test_without_more_knowledge_both_run_in_every_round() -> None:
    (run, ran), (reference, referred) = working(20_000), working(80_000)
    assert log_speed_up(run, reference) == pytest.approx(math.log(4), abs=0.7)
    assert len(ran) == len(referred) == 6 * _BURST


def test_a_known_reference_runs_twice_and_a_case_that_is_fast_enough_once() -> None:
    (run, ran), (reference, referred) = working(20_000), working(80_000)
    fastest = Fastest()
    log_speed_up(run, reference, fastest)
    assert math.isfinite(fastest.seconds)
    known = fastest.seconds
    ran.clear(), referred.clear()
    log_speed_up(run, reference, fastest)
    assert (len(ran), len(referred)) == (6 * _BURST, 2 * _BURST)
    assert fastest.seconds <= known
    ran.clear(), referred.clear()
    assert log_speed_up(run, reference, fastest, enough=0.0) >= 0.0
    assert (len(ran), len(referred)) == (_BURST, _BURST)


def test_a_slow_case_is_never_enough() -> None:
    (run, ran), (reference, _) = working(80_000), working(20_000)
    assert log_speed_up(run, reference, Fastest(), enough=0.0) < 0.0
    assert len(ran) == 6 * _BURST


def test_a_reference_that_was_faster_before_counts() -> None:
    (run, _), (reference, _) = working(20_000), working(80_000)
    assert log_speed_up(run, reference, Fastest(1e-9)) < -5
