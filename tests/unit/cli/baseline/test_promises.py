"""``qreg baseline update --category promise``, its processes replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.baselines.store import Store
from qreg.cli import main
from qreg.records.case import Case
from qreg.speed.promises import MeasuredSpeedUps, PromiseRequest
from tests.unit.baselines import build

FAST = [1.1 + 0.01 * (n % 3) for n in range(12)]
SLOW = [0.01 * (n % 3) for n in range(12)]
FP32 = replace(build.CASE, method="fp32")
Answer = Callable[[Case], dict[int, list[float]]]


class World:
    """Baselines of a static case and of fp32, and what processes answer of a case."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.answer: Answer = lambda case: {8: FAST, 32: SLOW}
        self.asked: list[PromiseRequest] = []

    def measure(self, request: PromiseRequest, project: Path) -> MeasuredSpeedUps:
        self.asked.append(request)
        logs = {case: self.answer(case) for case in request.cases}
        errors = {case: "it raised" for case, seen in logs.items() if not seen}
        return MeasuredSpeedUps(build.ENVIRONMENT, {c: s for c, s in logs.items() if s}, errors)

    def update(self, *more: str) -> int:
        words = ["baseline", "update", "--baselines", str(self.store.root), "--reason", "fast"]
        return main([*words, "--category", "promise", *more])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    found = World(tmp_path / "baselines")
    for case in (build.CASE, FP32):
        found.store.write(build.baseline(build.snapshot(case=case)))
    monkeypatch.setattr("qreg.gate.approve.measure_speed_ups", found.measure)
    return found


def test_it_is_recorded_at_the_better_batch_and_shown(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.update() == 0
    assert [request.cases for request in world.asked] == [(build.CASE,)]
    (promise,) = world.store.promises(build.CASE)
    assert promise.batch == 8
    assert promise.log_speed_ups == tuple(FAST)
    assert promise.history[-1].reason == "fast"
    assert world.store.promises(FP32) == ()
    assert "3.03x" in capsys.readouterr().out
    shown = ["baseline", "show", str(build.CASE), "--baselines", str(world.store.root)]
    assert main(shown) == 0
    assert "promised speed-up: 3.03x as fast as fp32" in capsys.readouterr().out


def test_what_is_as_fast_as_fp32_says_that_nothing_is_promised(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.answer = lambda case: {8: SLOW, 32: SLOW}
    assert world.update() == 0
    assert "none" in capsys.readouterr().out
    assert main(["baseline", "show", str(build.CASE), "--baselines", str(world.store.root)]) == 0
    assert "no speed-up is promised" in capsys.readouterr().out
    assert main(["baseline", "show", str(FP32), "--baselines", str(world.store.root)]) == 0
    assert "no speed-up" in capsys.readouterr().out


def test_less_than_was_promised_must_be_accepted_by_name(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.update() == 0
    world.answer = lambda case: {8: SLOW, 32: SLOW}
    assert world.update() == 1
    assert f"--accept-regression {build.CASE}" in capsys.readouterr().err
    assert world.store.promises(build.CASE)[0].log_speed_ups == tuple(FAST)
    assert world.update("--accept-regression", str(build.CASE)) == 0
    (promise,) = world.store.promises(build.CASE)
    assert promise.log_speed_ups == tuple(SLOW)
    assert len(promise.history) == 2


def test_a_case_that_cannot_be_measured_is_reported(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.answer = lambda case: {}
    assert world.update() == 1
    assert "it raised" in capsys.readouterr().err
    assert world.store.promises(build.CASE) == ()


def test_too_few_processes_and_no_case_are_refused(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.update("--processes", "3") == 2
    assert "--processes 3" in capsys.readouterr().err
    assert world.update(str(FP32)) == 2
    assert "no chosen case has a baseline" in capsys.readouterr().err
