from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.metrics.speed_up import SPEED_UP_BATCHES
from qreg.processes.jobs import LostError
from qreg.records.case import Case
from qreg.speed import promises
from qreg.speed.promises import PromiseRequest, check_processes, measure_speed_ups
from tests.unit.speed.fake import CASES, ENVIRONMENT

ROOT = Path(__file__).parents[3]
LINEAR = [Case("shapes10", "linear_100", method, "x86") for method in ("static", "nothing")]


@pytest.mark.slow
def test_real_processes_measure_real_cases() -> None:
    seen = measure_speed_ups(PromiseRequest((LINEAR[0],), processes=2), ROOT)
    assert {b: len(logs) for b, logs in seen.log_speed_ups[LINEAR[0]].items()} == dict.fromkeys(
        SPEED_UP_BATCHES, 2
    )
    assert seen.environment
    assert seen.environment.threads == 1
    assert seen.errors == {}


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, Any], Any]], None]:
    """Let `run` stand for the children; it is given the number of the process and the job."""

    def use(run: Callable[[int, Any], Any]) -> None:
        numbers = iter(range(1000))

        def run_child(side: object, job: Any, *, timeout: float, script: Path) -> Any:
            return run(next(numbers), job)

        monkeypatch.setattr(promises, "run_child", run_child)
        monkeypatch.setattr(promises, "_JOBS", 1)

    return use


def found(job: Any, *logs: float) -> dict[str, Any]:
    environment = {**vars(ENVIRONMENT), "limits": []}
    return {"environment": environment, "found": [{"log_speed_ups": list(logs)} for _ in job.cases]}


def test_a_model_at_a_time_round_after_round(children: Any) -> None:
    asked: list[tuple[Case, ...]] = []

    def run(number: int, job: Any) -> dict[str, Any]:
        asked.append(job.cases)
        return found(job, number / 10, 1.0)

    children(run)
    seen = measure_speed_ups(PromiseRequest(CASES, processes=3), ROOT)
    assert asked == [(CASES[0],), (CASES[1],)] * 3
    small, large = SPEED_UP_BATCHES
    assert seen.log_speed_ups[CASES[1]] == {small: [0.1, 0.3, 0.5], large: [1.0] * 3}


def test_processes_and_cases_that_are_lost_are_reported(children: Any) -> None:
    def run(number: int, job: Any) -> dict[str, Any]:
        if number == 0:
            raise LostError("was killed by SIGSEGV (measuring it)", stage="measuring it")
        if job.cases[0] == CASES[1]:
            return {**found(job), "found": [{"error": "no checkpoint"}]}
        return found(job, 1.0, 1.0)

    children(run)
    seen = measure_speed_ups(PromiseRequest(CASES, processes=3), ROOT)
    assert [len(logs) for logs in seen.log_speed_ups[CASES[0]].values()] == [2, 2]
    assert "SIGSEGV" in seen.errors[CASES[0]]
    assert seen.errors[CASES[1]] == "no checkpoint"
    assert CASES[1] not in seen.log_speed_ups


def test_an_interruption_keeps_what_is_finished(children: Any) -> None:
    started: list[int] = []

    def run(number: int, job: Any) -> dict[str, Any]:
        started.append(number)
        return found(job, 1.0, 1.0)

    def stop_at_five(done: int, total: int, what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    children(run)
    request = PromiseRequest(CASES, processes=500, options=Options(progress=stop_at_five))
    seen = measure_speed_ups(request, ROOT)
    assert seen.interrupted
    assert [len(seen.log_speed_ups[case][8]) for case in CASES] == [2, 2]
    assert len(started) < 1000


def test_a_spread_needs_processes() -> None:
    assert check_processes(4, 4) == 4
    with pytest.raises(QregError, match="--processes 3"):
        check_processes(3, 4)
