from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qreg.cli import main
from qreg.measure.options import ONE_THREAD
from qreg.processes.sides import open_side
from qreg.records.verdict import Outcome
from qreg.speed.calibration import run as calibrate
from qreg.speed.calibration.load import noise_load
from qreg.speed.calibration.other_tools import OTHER_RULES
from qreg.speed.calibration.trials import (
    OWN,
    SCENARIOS,
    USUAL,
    USUAL_THREADS,
    Trial,
    append_trials,
    clean_ratios,
    outcome_so_far,
    read_trials,
    says_slower,
)
from qreg.speed.compare.rule import make_plan
from qreg.speed.driver import SpeedRequest
from tests.unit.speed.fake import CASES, fake_python, log_of

REQUEST = SpeedRequest(CASES[:1], make_plan(cases=1), seed=0)


def trial(shift: float, scenario: str = "A/A", seed: int = 0) -> Trial:
    rng = np.random.default_rng(seed)
    calls = 0.001 * (1 + 0.002 * rng.random((2, 100)))
    return Trial(
        scenario=scenario,
        case=CASES[0],
        load=0,
        seed=seed,
        threads=1,
        batch=1,
        steal=0.0,
        others=0.5,
        ratios=tuple((math.log1p(shift) + 0.002 * rng.normal(size=16)).tolist()),
        baseline_calls=tuple(calls[0].tolist()),
        candidate_calls=tuple((calls[1] * (1 + shift)).tolist()),
    )


def run(
    tmp_path: Path,
    numbers: range,
    *,
    request: SpeedRequest = REQUEST,
    names: tuple[str, ...] = USUAL,
    **fake: object,
) -> tuple[Trial, ...]:
    store = tmp_path / "trials.jsonl"
    chosen = [SCENARIOS[name] for name in names]
    with open_side(fake_python(tmp_path / "a", **fake), tmp_path) as side:  # type: ignore[arg-type]
        calibrate.run_trials(
            calibrate.set_up(request.cases, chosen, request, side),
            request,
            side,
            numbers=numbers,
            load=0,
            store=store,
        )
    return read_trials(store)[0]


def test_a_trial_has_every_scenario_in_every_pair_until_it_is_decided(tmp_path: Path) -> None:
    found = run(tmp_path, range(3, 4))
    assert [one.scenario for one in found] == [SCENARIOS[name].name for name in USUAL]
    assert {one.seed for one in found} == {3}
    plan = make_plan(cases=1)
    for one in found:
        decided = outcome_so_far(one.ratios, plan) is not Outcome.INCONCLUSIVE
        assert decided or len(one.ratios) == 16
        assert len(one.ratios) in (8, 12, 16)
    assert found[0].ratios
    jobs = [entry["job"] for entry in log_of(str(tmp_path / "a"))][1:]
    plain = [job for job in jobs if not job["extra"]]
    faulty = [job for job in jobs if job["extra"]]
    assert len(plain) == len(faulty) == max(len(one.ratios) for one in found)
    assert {tuple(case) for job in plain for case in job["cases"]} == {
        ("shapes10", "simple_cnn", "static", "x86")
    }
    assert faulty[0]["cases"][-1] == ["shapes10", "simple_cnn", "fp32", "x86"]
    # a call takes 1 ms here, and a layer 1 microsecond: 1 % are 10 layers
    layers = [layers for layers, _ in faulty[0]["extra"]]
    assert layers == pytest.approx([0, 10, 20, 30, 50, 100, 500, 0], abs=3)
    # what is decided is not run again
    assert len(faulty[-1]["cases"]) <= len(faulty[0]["cases"])


@pytest.mark.slow
def test_both_sides_of_a_pair_are_on_one_processor(tmp_path: Path) -> None:
    run(tmp_path, range(1), names=("A/A",))
    jobs = [entry["job"] for entry in log_of(str(tmp_path / "a"))][1:]
    chosen = [job["processor"] for job in jobs]
    assert chosen[::2] == chosen[1::2]
    allowed = sorted(os.sched_getaffinity(0))
    assert chosen[0] == chosen[2] == allowed[0]
    assert chosen[4] == allowed[1 % len(allowed)]


@pytest.mark.slow
def test_with_threads_a_case_may_lose_them(tmp_path: Path) -> None:
    threads = SpeedRequest(
        CASES[:1], make_plan(cases=1, threads=2), seed=0, options=replace(ONE_THREAD, threads=2)
    )
    found = run(tmp_path, range(1), request=threads, names=USUAL_THREADS)
    assert {one.threads for one in found} == {2}
    jobs = [entry["job"] for entry in log_of(str(tmp_path / "a"))][1:]
    assert {job["processor"] for job in jobs} == {None}
    assert next(job["serial"] for job in jobs if job["extra"]) == [3]


@pytest.mark.slow
def test_the_method_of_a_fault_is_not_run_against_itself(tmp_path: Path) -> None:
    fp32 = replace(CASES[0], method="fp32")
    asked = SpeedRequest((fp32,), make_plan(cases=1), seed=0)
    assert [t.scenario for t in run(tmp_path, range(1), request=asked, names=("A/A", "fp32"))] == [
        "A/A"
    ]


def test_every_rule_judges_the_same_samples() -> None:
    same, slower = says_slower(trial(0.0)), says_slower(trial(0.2))
    assert set(same) == {OWN, *OTHER_RULES}
    assert not any(same.values())
    assert all(slower.values())
    little = says_slower(trial(0.03))
    assert little[OWN]
    assert not little["pytest-benchmark min:5%"]
    assert little["Mann-Whitney on calls"]
    assert not little["asv continuous"]


def test_finished_trials_are_kept_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "t.jsonl"
    command = ["speed", "calibrate", "--trials", "0", "--store", str(store)]
    assert main(command) == 2
    append_trials(store, [trial(0.0, seed=n) for n in range(3)])
    append_trials(store, [trial(0.03, "slower by 3 %", seed=n) for n in range(3)])
    with store.open("a") as file:
        file.write("half")
    assert len(clean_ratios(store)) == 48
    assert main(command) == 0
    said = capsys.readouterr()
    assert "line 7 is damaged" in said.err
    assert "0/3" in said.out
    assert "3/3" in said.out
    assert OWN in said.out


def test_all_conditions_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = [trial(0.0, seed=n) for n in range(2)]
    store = tmp_path / "t.jsonl"
    append_trials(store, [*quiet, *(replace(one, load=2) for one in quiet)])
    threads = replace(quiet[0], threads=2, batch=100)
    append_trials(store, [threads])
    assert main(["speed", "calibrate", "--trials", "0", "--store", str(store)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all conditions on one thread" in said
    assert "2 threads, batch 100" in said
    assert "0/4" in said


def test_the_noise_load_ends(tmp_path: Path) -> None:
    with noise_load(2, seed=1):
        pass
    with pytest.raises(KeyboardInterrupt), noise_load(1, seed=1):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "changed",
    [
        {"ratios": ()},
        {"baseline_calls": ()},
        {"candidate_calls": ()},
        {"candidate_calls": (0.0,)},
        {"threads": 0},
        {"load": -1},
    ],
    ids=str,
)
def test_a_trial_that_no_rule_can_judge_is_a_damaged_line(
    changed: dict[str, object], tmp_path: Path
) -> None:
    whole = trial(0.0)
    with pytest.raises(ValueError, match=r"trial|calls|threads"):
        replace(whole, **changed)  # type: ignore[arg-type]
    store = tmp_path / "trials.jsonl"
    append_trials(store, [whole])
    line = json.dumps({**json.loads(store.read_text()), **changed})
    store.write_text(f"{store.read_text()}{line}\n")
    assert read_trials(store) == ((whole,), (2,))
