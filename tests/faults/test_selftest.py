"""The proof itself, on the smallest case that has all kinds of faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qreg.cli import main
from tests.unit.faults.test_faults import ASKED

_BATCHNORM = "batchnorm-not-folded"


@pytest.mark.faults
def test_what_was_asked_for_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "proof.json"
    faults = ",".join(name for name in ASKED if name != _BATCHNORM)
    more = ["--methods", "static,qat", "--clean-runs", "0", "--json", str(found)]
    assert main(["selftest", "--faults", faults, *more]) == 0, capsys.readouterr().out
    runs = json.loads(found.read_text())["faults"]
    assert {run["fault"] for run in runs} == set(ASKED) - {_BATCHNORM}
    assert all(run["observed"]["reason"] == "" for run in runs)


@pytest.mark.faults
def test_batchnorm_left_as_it_is_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--model", "resnet20", "--method", "static", "--clean-runs", "0"]
    assert main(["selftest", "--faults", _BATCHNORM, *more]) == 0, capsys.readouterr().out


@pytest.mark.faults
def test_no_alarm_without_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--methods", "static,qat", "--engines", "x86,onednn"]
    status = main(["selftest", "--faults", "none", *more])
    shown = capsys.readouterr().out
    assert status == 0, shown
    assert "0 false alarms" in shown
