from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.measure.options import ONE_THREAD, Options
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from qreg.speed.check import check_speed
from qreg.speed.compare.rule import make_plan
from qreg.speed.compare.verdicts import complaints, drift, log_ratios, times_of
from qreg.speed.driver import SpeedRequest, call_counts
from qreg.speed.noise import NoiseReading, read_noise
from qreg.speed.pairs import pair_orders
from qreg.speed.records import CaseTimes, Noise, ProcessPair, SpeedRun, Timing
from tests.unit.speed.fake import CASES, ENVIRONMENT, fake_python, log_of


def request(*, pairs: int = 16, cases: tuple[Case, ...] = CASES, **more: object) -> SpeedRequest:
    return SpeedRequest(cases, make_plan(pairs=pairs, cases=len(cases)), seed=3, **more)  # type: ignore[arg-type]


def check(tmp_path: Path, asked: SpeedRequest, *, a: dict, b: dict) -> SpeedRun:
    sides = (fake_python(tmp_path / "a", **a), fake_python(tmp_path / "b", **b))
    return check_speed(asked, *sides, tmp_path)


@pytest.mark.slow
def test_a_slowdown_is_found_and_no_change_passes(tmp_path: Path) -> None:
    slower = check(tmp_path, request(cases=CASES[:1]), a={}, b={"seconds": 0.00104})
    assert slower.verdicts[0].outcome is Outcome.REGRESSED
    assert slower.verdicts[0].speed
    assert slower.verdicts[0].speed.change == pytest.approx(0.04, abs=0.003)
    assert slower.verdicts[0].candidate_ms == pytest.approx(1.04, abs=0.005)
    assert slower.verdicts[0].p95 == pytest.approx(0.04, abs=0.003)
    assert len(slower.pairs) == 8
    same = check(tmp_path, request(), a={}, b={})
    assert [verdict.outcome for verdict in same.verdicts] == [Outcome.PASS] * 2
    assert len(same.pairs) == 8
    assert same.baseline.environment == ENVIRONMENT
    expected = pair_orders(same.seed)
    assert [pair.order for pair in same.pairs] == [next(expected) for _ in same.pairs]


def test_orders_are_random_in_blocks() -> None:
    orders = pair_orders(3)
    drawn = [(next(orders), next(orders)) for _ in range(20)]
    assert set(drawn) == {("AB", "BA"), ("BA", "AB")}


def test_both_sides_are_asked_for_the_same_but_for_the_method(tmp_path: Path) -> None:
    asked = request(options=Options(batch=4), against="fp32", cases=CASES[:1])
    run = check(tmp_path, asked, a={"seconds": 0.0012}, b={})
    first, second = (log_of(str(tmp_path / name))[1]["job"] for name in "ab")
    same = {"stage": "", "cases": [], "turns": 0}
    assert {**first, **same} == {**second, **same}
    assert first["options"]["batch"] == 4
    assert first["cases"] == [["shapes10", "simple_cnn", "fp32", "x86"]]
    assert second["cases"] == [["shapes10", "simple_cnn", "static", "x86"]]
    assert run.verdicts[0].against == "fp32"
    assert run.verdicts[0].case == CASES[0]
    assert str(tmp_path) in log_of(str(tmp_path / "a"))[0]["path"].split(os.pathsep)


@pytest.mark.slow
def test_decided_cases_are_not_run_again(tmp_path: Path) -> None:
    run = check(tmp_path, request(), a={}, b={"seconds": 0.00105})
    # two cases cannot both be significant at the first look
    assert len(run.pairs) == 12
    assert [verdict.outcome for verdict in run.verdicts] == [Outcome.REGRESSED] * 2


@pytest.mark.slow
def test_lost_pairs_are_counted_and_run_again(tmp_path: Path) -> None:
    run = check(tmp_path, request(), a={"crash": (2,)}, b={"refuse": (4,)})
    assert len(run.lost) == 2
    assert "baseline was killed by SIGSEGV" in run.lost[0]
    assert "candidate ValueError: no (making it)" in run.lost[1]
    assert [verdict.outcome for verdict in run.verdicts] == [Outcome.PASS] * 2
    orders = [pair.order for pair in run.pairs]
    assert orders.count("AB") == orders.count("BA") == 4


@pytest.mark.slow
def test_over_a_quarter_lost_is_an_error(tmp_path: Path) -> None:
    run = check(tmp_path, request(), a={"crash": tuple(range(2, 30))}, b={})
    assert len(run.lost) == 5
    assert [verdict.outcome for verdict in run.verdicts] == [Outcome.ERROR] * 2
    assert "over a quarter" in run.verdicts[0].notes[0]
    assert run.verdicts[0].speed is None


@pytest.mark.slow
def test_a_child_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    start = time.monotonic()
    run = check(tmp_path, request(timeout=0.7), a={"hang": (1,)}, b={})
    assert time.monotonic() - start < 20
    assert "gave no result in 0.7 s" in run.lost[0]
    pids = [entry["pid"] for entry in log_of(str(tmp_path / "a"))]
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_an_interruption_keeps_what_is_finished(tmp_path: Path) -> None:
    def stop_at_nine(done: int, total: int, what: str) -> None:
        if done == 9:
            raise KeyboardInterrupt

    asked = request(pairs=16, options=replace(ONE_THREAD, progress=stop_at_nine))
    run = check(tmp_path, asked, a={"noise": 0.2}, b={"noise": 0.2})
    assert run.interrupted
    assert len(run.pairs) == 9
    assert run.verdicts[0].outcome is Outcome.INCONCLUSIVE
    assert run.verdicts[0].speed
    assert run.verdicts[0].speed.pairs == 9


def test_a_side_that_cannot_do_it_is_named_with_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(QregError, match=r"the candidate .*ValueError: no") as caught:
        check(tmp_path, request(), a={}, b={"refuse": (0,)})
    assert "PYTHONPATH=" in caught.value.hint
    with pytest.raises(QregError, match="exited 2"):
        check_speed(request(), "/bin/sh", "/bin/sh", tmp_path)


def test_calls_fit_the_time_they_take() -> None:
    assert call_counts([1e-6, 0.001, 10.0]) == (250, 25, 2)
    assert call_counts([0.001]) == (38,)
    assert call_counts([0.001] * 20) == (15,) * 20


def pair(baseline: float, candidate: float) -> ProcessPair:
    def timing(ms: float) -> Timing:
        return Timing(ms, ms, ms, 10)

    return ProcessPair("AB", (CaseTimes(CASES[0], timing(baseline), timing(candidate)),))


def test_drift_is_that_of_both_sides() -> None:
    assert drift([pair(1.0, 1.0)] * 2) == 0
    slowing = [pair(1 + n / 10, 1.1 * (1 + n / 10)) for n in range(9)]
    assert drift(slowing) == pytest.approx(1.7 / 1.1 - 1)
    assert drift([pair(1.0, 1.5)] * 9) == pytest.approx(0)
    assert log_ratios(times_of(CASES[1], slowing)) == ()


def test_a_noisy_machine_is_reported() -> None:
    assert complaints(Noise(0.0, 0.1, 0.2, 0.01, 2)) == ()
    assert complaints(Noise(None, None, 0.2, 0.01, 2)) == ()
    found = complaints(Noise(0.03, 0.7, 0.2, -0.06, 2))
    assert len(found) == 3
    assert "3.0%" in found[0]
    assert "-6.0%" in found[2]


def test_readings_of_the_processors() -> None:
    steal, others = NoiseReading(10, 28, 1, 3).since(NoiseReading(0, 10, 0, 0))
    assert steal == pytest.approx(0.1 / (os.cpu_count() or 1))
    assert others == pytest.approx(1.5)
    assert NoiseReading(10, float("nan"), 1, 3).since(NoiseReading(0, 0, 0, 0)) == (None, None)
    assert read_noise().clock > 0


def test_records_refuse_contradictions() -> None:
    with pytest.raises(ValueError, match="contradict"):
        Timing(2.0, 1.0, 3.0, 5)
    with pytest.raises(ValueError, match="order"):
        ProcessPair("AA", ())
