from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from qreg.cli import main
from qreg.compare.peers import PEERS
from qreg.compare.speed import make_plan
from qreg.errors import QregError
from qreg.speed import calibrate
from qreg.speed.driver import Request
from qreg.speed.load import noise_load
from qreg.speed.sides import open_side
from qreg.speed.trials import (
    OWN,
    SCENARIOS,
    Trial,
    append_trials,
    clean_ratios,
    read_trials,
    says_slower,
)
from tests.unit.speed.fake import CASES, fake_python, log_of

REQUEST = Request(CASES[:1], make_plan(cases=1), seed=0)


def trial(shift: float, scenario: str = "A/A", seed: int = 0) -> Trial:
    rng = np.random.default_rng(seed)
    calls = 0.001 * (1 + 0.002 * rng.random((2, 100)))
    return Trial(
        scenario=scenario,
        case=CASES[0],
        load=0,
        seed=seed,
        ratios=tuple((math.log1p(shift) + 0.002 * rng.normal(size=16)).tolist()),
        baseline_calls=tuple(calls[0].tolist()),
        candidate_calls=tuple((calls[1] * (1 + shift)).tolist()),
    )


def run(tmp_path: Path, numbers: range, **fake: object) -> tuple[Trial, ...]:
    store = tmp_path / "trials.jsonl"
    with open_side(fake_python(tmp_path / "a", **fake), tmp_path) as side:  # type: ignore[arg-type]
        calibrate.run_trials(
            calibrate.set_up(CASES[0], REQUEST, side),
            REQUEST,
            side,
            numbers=numbers,
            load=0,
            store=store,
            progress=lambda *_: None,
        )
    return read_trials(store)[0]


def test_a_trial_has_every_scenario_in_every_pair(tmp_path: Path) -> None:
    found = run(tmp_path, range(3, 4))
    assert [one.scenario for one in found] == [one.name for one in SCENARIOS]
    assert {len(one.ratios) for one in found} == {16}
    assert {one.seed for one in found} == {3}
    jobs = [entry["job"] for entry in log_of(str(tmp_path / "a"))][1:]
    assert len(jobs) == 32
    faulty = [job for job in jobs if job["extra"]]
    assert len(faulty) == 16
    assert {tuple(case) for job in jobs if not job["extra"] for case in job["cases"]} == {
        ("shapes10", "simple_cnn", "static", "x86")
    }
    assert faulty[0]["cases"][-1] == ["shapes10", "simple_cnn", "fp32", "x86"]
    # a call takes 1 ms here, and a layer 1 microsecond: 1 % are 10 layers
    layers = [layers for layers, _ in faulty[0]["extra"]]
    assert layers == pytest.approx([0, 10, 20, 30, 50, 100, 500, 0], abs=3)


def test_too_many_lost_pairs_end_it(tmp_path: Path) -> None:
    with pytest.raises(QregError, match="too many pairs"):
        run(tmp_path, range(1), crash=tuple(range(1, 60)))
    with pytest.raises(QregError, match="ValueError: no"):
        run(tmp_path, range(1), refuse=tuple(range(60)))


def test_every_rule_judges_the_same_samples() -> None:
    same, slower = says_slower(trial(0.0)), says_slower(trial(0.2))
    assert set(same) == {OWN, *PEERS}
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


def test_the_noise_load_ends(tmp_path: Path) -> None:
    with noise_load(2, seed=1):
        pass
    with pytest.raises(KeyboardInterrupt), noise_load(1, seed=1):
        raise KeyboardInterrupt
