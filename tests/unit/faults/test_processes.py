from __future__ import annotations

import json
import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from qreg.baselines.store import Store
from qreg.errors import QregError
from qreg.faults.child import _plain
from qreg.faults.noise import EnvironmentNoise
from qreg.faults.processes import (
    KilledError,
    Launcher,
    Start,
    _checked,
    _fork_found,
    _unpacked,
    in_forks,
)
from qreg.faults.results import ObservedCase, TierVerdict
from qreg.faults.settings import SETTINGS, true_loss
from qreg.measure.environment import capture_environment
from qreg.measure.options import Options
from qreg.processes.jobs import LostError
from qreg.processes.local import LocalExecutor
from qreg.processes.sides import Side
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from tests.unit.baselines import build

CASE = Case("shapes10", "simple_cnn", "static", "onednn")
HERE = Path("here")
LAUNCHER = Launcher(Options(checkpoints=Path("checkpoints"), threads=1))


class _Ends:
    """Stands for a process: what it answers, or how it is lost; keeps what it was asked."""

    def __init__(self, answer: dict[str, Any] | LostError) -> None:
        self.answer = answer
        self.job: dict[str, Any] = {}
        self.variables: dict[str, str | None] = {}

    def __call__(self, side: Side, script: Path, job: dict[str, Any], **how: Any) -> Any:
        self.job, self.variables = json.loads(json.dumps(job)), how["variables"]
        if isinstance(self.answer, LostError):
            raise self.answer
        return json.loads(json.dumps(self.answer))


def _ends(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | LostError) -> _Ends:
    ends = _Ends(answer)
    monkeypatch.setattr("qreg.faults.processes.run_script", ends)
    return ends


def test_what_was_observed_comes_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    found = TierVerdict(Outcome.REGRESSED, ("layers",))
    seen = ObservedCase(
        CASE, found, TierVerdict(Outcome.PASS), found, noise=EnvironmentNoise(flips=2)
    )
    ends = _ends(monkeypatch, {"observed": [_plain(seen)]})
    assert LAUNCHER.faulty(CASE, "one-code", HERE) == seen
    assert ends.job["fault"] == "one-code"
    assert ends.job["cases"] == [list(astuple(CASE))]


def test_a_fault_that_kills_its_process_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _ends(monkeypatch, LostError("was killed by SIGILL (observing)", stage="", killed=True))
    found = LAUNCHER.faulty(CASE, "one-code", HERE)
    assert found.exact.outcome is found.other_float.outcome is Outcome.ERROR
    assert "was killed by SIGILL" in found.reason


def test_a_process_that_fails_for_another_reason_is_no_catch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ends(monkeypatch, LostError("exited 1 (observing)", stage="", details="Traceback"))
    with pytest.raises(QregError, match="exited 1") as failed:
        LAUNCHER.faulty(CASE, "one-code", HERE)
    assert failed.value.details == "Traceback"


def test_a_clean_case_that_cannot_be_made_ends_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    error = TierVerdict(Outcome.ERROR)
    failed = ObservedCase(CASE, error, error, error, reason="no checkpoint")
    _ends(monkeypatch, {"observed": [_plain(failed)]})
    with pytest.raises(QregError, match=r"static@onednn .*: no checkpoint"):
        LAUNCHER.record([CASE], HERE)


def test_limits_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = _ends(monkeypatch, {"observed": []})
    LAUNCHER.clean([], HERE, limits=("ONEDNN_MAX_CPU_ISA=AVX2",), threads=4)
    assert ends.variables["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert ends.variables["ATEN_CPU_CAPABILITY"] is None
    assert ends.job["options"]["threads"] == 4


@pytest.mark.parametrize(
    ("log", "started", "reason"), [(-0.3, 3, "the case is no faster than fp32"), (0.9, 12, "")]
)
def test_a_slower_model_is_promised_nothing_after_three_processes(
    log: float, started: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"environment": vars(capture_environment()), "log_speed_ups": [log]}
    asked = []

    def run(side: Side, script: Path, job: dict[str, Any], **how: Any) -> Any:
        asked.append(job["speed_ups"])
        return json.loads(json.dumps(answer))

    monkeypatch.setattr("qreg.faults.processes.run_script", run)
    Store(tmp_path).write(build.baseline())
    assert LAUNCHER.promise([build.CASE], tmp_path, processes=12) == {build.CASE: reason}
    assert bool(Store(tmp_path).promises(build.CASE)) != bool(reason)
    assert asked == [8] * started


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [False, True])
def test_real_processes_record_judge_and_promise(
    tmp_path: Path, pieces: bool, request: pytest.FixtureRequest
) -> None:
    executor = LocalExecutor(jobs=2) if pieces else None
    if executor:
        request.addfinalizer(executor.close)
    case = Case("shapes10", "linear_100", "dynamic", "x86")
    real = Launcher(Options(threads=1), executor)
    real.record([case], tmp_path)
    (clean,) = real.clean([case], tmp_path)
    assert clean.exact.outcome is Outcome.PASS
    assert clean.unchanged
    broken = real.faulty(case, "one-code", tmp_path)
    assert broken.exact.outcome is Outcome.REGRESSED
    assert not broken.reason


def test_only_onednns_own_activations_lose_without_vnni() -> None:
    lossy = [s.name for s in SETTINGS if true_loss(CASE, s)]
    assert lossy == ["fbgemm and oneDNN AVX2", "oneDNN AVX-512, no VNNI"]
    for method, engine in (("qat", "onednn"), ("dynamic", "onednn"), ("static", "x86")):
        other = Case("shapes10", "simple_cnn", method, engine)
        assert not any(true_loss(other, setting) for setting in SETTINGS)


def test_what_a_piece_found_travels_with_infinite_noise_and_its_baselines(tmp_path: Path) -> None:
    found = {"observed": [{"noise": {"a": math.inf}}], "recorded": {"d/x.json": "e30="}}
    assert _unpacked({"text": json.dumps(found)}, tmp_path) == {"observed": found["observed"]}
    assert (tmp_path / "d" / "x.json").read_text() == "{}"
    with pytest.raises(QregError, match="leads out"):
        _unpacked({"text": json.dumps({"recorded": {"../x": ""}})}, tmp_path / "d")


def test_a_piece_that_is_lost_is_no_catch() -> None:
    lost = _unpacked({"died": "was lost 5 times", "details": ""}, None)
    with pytest.raises(QregError, match="was lost 5 times") as caught:
        _checked(lost)
    assert not isinstance(caught.value, KilledError)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_faults_in_forks_of_one_process_are_what_each_is_in_its_own(
    tmp_path: Path, jobs: int
) -> None:
    case = Case("shapes10", "linear_100", "dynamic", "x86")
    real = Launcher(Options(threads=1))
    real.record([case], tmp_path)
    names = ("one-code", "weights-half-away", "nan", "labels-shuffled-1.0%")
    starts = [Start((case,), 1, against=tmp_path, fault=name) for name in names]
    together = list(real.faulty_all(starts, jobs=jobs))
    assert together == [real.faulty(case, name, tmp_path) for name in names]
    assert [one.reason for one in together] == [""] * len(names)
    # the others may change nothing, or leave nothing to compare, in so small a network
    assert together[0].exact.outcome is Outcome.REGRESSED


def _written(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    file.write_text(json.dumps({**content, "details": ""}))
    # the process that forks is not asked about a fork that has ended
    return _fork_found(None, file, 1)  # type: ignore[arg-type]


def test_only_a_signal_that_kills_a_fork_is_a_catch(tmp_path: Path) -> None:
    with pytest.raises(KilledError, match="SIGILL"):
        _checked(_written(tmp_path / "1", {"died": "was killed by SIGILL"}))
    for how in ({"died": "exited 1"}, {"raised": "LookupError: no clean baseline"}):
        with pytest.raises(QregError) as ended:
            _checked(_written(tmp_path / "2", how))
        assert not isinstance(ended.value, KilledError)


def test_a_process_that_cannot_fork_is_no_catch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ends.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr("qreg.faults.processes._CHILD", script)
    start = Start((CASE,), 1, against=tmp_path, fault="one-code")
    with pytest.raises(QregError, match="was killed by SIGKILL") as ended:
        list(in_forks([start.content(LAUNCHER.options)] * 2, jobs=1))
    assert not isinstance(ended.value, KilledError)
