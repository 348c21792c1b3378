"""Trials as pieces of work: those of one machine, each alone where it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.processes.local import LocalExecutor
from qreg.processes.sending import default_settings
from qreg.processes.sides import open_side
from qreg.speed.calibration import clustered
from qreg.speed.calibration.trials import SCENARIOS, read_trials
from tests.unit.speed.calibration.test_run import REQUEST
from tests.unit.speed.fake import fake_python

_CHOSEN = [SCENARIOS["A/A"], SCENARIOS["10%"]]


def _run(tmp_path: Path, numbers: range) -> Path:
    store = tmp_path / "trials.jsonl"
    executor = LocalExecutor(jobs=2)
    settings = default_settings(tmp_path)
    try:
        clustered.run_trials_on(
            executor, _CHOSEN, REQUEST, settings, numbers=numbers, load=0, store=store
        )
    finally:
        executor.close()
    return store


@pytest.mark.slow
def test_each_number_is_a_trial_of_every_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = fake_python(tmp_path / "a")
    monkeypatch.setattr(clustered, "open_side", lambda _, root: open_side(python, root))
    found, damaged = read_trials(_run(tmp_path, range(4, 7)))
    assert not damaged
    assert sorted((one.seed, one.scenario) for one in found) == [
        (seed, one.name) for seed in (4, 5, 6) for one in _CHOSEN
    ]
    assert {one.case for one in found} == set(REQUEST.cases)
    assert all(len(one.ratios) in (8, 12, 16) for one in found)


def test_a_trial_that_cannot_be_done_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustered, "open_side", lambda _, root: open_side("no-such-python", root))
    with pytest.raises(QregError, match="trial 3: 'no-such-python'"):
        _run(tmp_path, range(3, 4))


def test_a_trial_has_its_machine_alone(tmp_path: Path) -> None:
    pieces = clustered._pieces(_CHOSEN, REQUEST, default_settings(tmp_path), range(2), 1)
    found = list(pieces)
    assert all(one.timed for one in found)
    assert [json.loads(one.content)["number"] for one in found] == [0, 1]
