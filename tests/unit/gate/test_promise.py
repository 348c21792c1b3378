"""Looking at a promised speed-up: once where it is kept, again where that is in doubt."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from qreg.checks.speed_up import LOOKS
from qreg.gate.promise import observe_promise, with_promise
from qreg.gate.report import next_command, promise_line, verdict_record
from qreg.records.verdict import Check, Outcome, Verdict
from tests.unit.baselines import build
from tests.unit.checks.test_speed_up import ALPHA, THREE

PASSED = Verdict(build.CASE, Outcome.PASS, p_values=(1.0, 1.0))
FAST, SLOW = math.log(3), 0.0


def looking(*seen: float) -> tuple[Callable[[int], float], list[int]]:
    """A look that sees these one after the other, and the batch sizes it was asked for."""
    batches: list[int] = []

    def look(batch: int) -> float:
        batches.append(batch)
        return seen[len(batches) - 1]

    return look, batches


def held(*seen: float, cpu: str = build.ENVIRONMENT.cpu) -> tuple[Verdict, list[int]]:
    look, batches = looking(*seen)
    where = replace(build.ENVIRONMENT, cpu=cpu)
    return with_promise(
        PASSED, observe_promise((THREE,), where, look, alpha=ALPHA), alpha=ALPHA
    ), batches


def test_a_kept_promise_is_measured_once() -> None:
    verdict, batches = held(FAST)
    assert verdict.outcome is Outcome.PASS
    assert verdict.findings == ()
    assert batches == [THREE.batch]
    assert verdict.promise
    assert verdict.promise.looks == 1


@pytest.mark.parametrize("cpu", [build.ENVIRONMENT.cpu, "Another CPU"])
def test_a_fallback_is_found_on_every_machine(cpu: str) -> None:
    verdict, batches = held(*[SLOW] * LOOKS, cpu=cpu)
    assert verdict.outcome is Outcome.REGRESSED
    assert [finding.check for finding in verdict.findings] == [Check.SPEED_UP]
    assert len(batches) == LOOKS
    assert verdict.p_values == PASSED.p_values
    assert ("on another CPU" in verdict.findings[0].allowed) == (cpu == "Another CPU")
    assert "--against fp32" in next_command(verdict)


@pytest.mark.parametrize(("speed_up", "outcome"), [(1.38, Outcome.PASS), (0.5, Outcome.REGRESSED)])
def test_without_vnni_less_is_kept(speed_up: float, outcome: Outcome) -> None:
    measure, _ = looking(*[math.log(speed_up)] * LOOKS)
    where = replace(build.ENVIRONMENT, cpu="Another CPU", vnni=False)
    found = observe_promise((THREE,), where, measure, alpha=ALPHA)
    assert with_promise(PASSED, found, alpha=ALPHA).outcome is outcome


def test_a_noisy_moment_is_measured_again_and_passes() -> None:
    verdict, batches = held(SLOW, FAST)
    assert verdict.outcome is Outcome.PASS
    assert len(batches) == 2
    assert verdict.promise
    assert verdict.promise.observed == FAST


def test_where_nothing_is_promised_nothing_is_measured() -> None:
    def look(batch: int) -> float:
        raise AssertionError("measured")

    assert observe_promise((), build.ENVIRONMENT, look, alpha=ALPHA) is None
    slow = replace(THREE, log_speed_ups=(0.01, -0.01, 0.0, 0.02))
    assert observe_promise((slow,), build.ENVIRONMENT, look, alpha=ALPHA) is None
    assert with_promise(PASSED, None, alpha=ALPHA) == PASSED


def test_the_run_says_who_kept_it_and_of_whom_nothing_is_promised() -> None:
    verdicts = [held(FAST)[0], held(SLOW, FAST)[0], held(*[SLOW] * LOOKS)[0], PASSED]
    line = promise_line([verdict_record(one) for one in verdicts])
    assert re.search(r"\b2 of 3 cases \(2 ", line)
    assert re.search(r"no promise\D*\b1$", line)
