from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from qreg.errors import QregError
from qreg.faults.child import _plain
from qreg.faults.noise import EnvironmentNoise
from qreg.faults.processes import Launcher
from qreg.faults.results import Judged, Observed
from qreg.faults.settings import SETTINGS, true_loss
from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.records.verdict import Outcome

CASE = Case("shapes10", "simple_cnn", "static", "onednn")
HERE = Path("here")
LAUNCHER = Launcher(Options(checkpoints=Path("checkpoints"), threads=1))


class _Ends:
    """Stands for subprocess.run; keeps what it was called with."""

    def __init__(self, status: int, output: str = "") -> None:
        self.status, self.output = status, output
        self.command: list[str] = []
        self.environment: dict[str, str] = {}

    def __call__(self, command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        self.command, self.environment = command, env
        return subprocess.CompletedProcess(command, self.status, self.output, "Illegal\n")


def _ends(monkeypatch: pytest.MonkeyPatch, status: int, output: str = "") -> _Ends:
    ends = _Ends(status, output)
    monkeypatch.setattr(subprocess, "run", ends)
    return ends


def test_what_was_observed_comes_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Judged(Outcome.REGRESSED, ("layers",))
    seen = Observed(CASE, found, Judged(Outcome.PASS), found, noise=EnvironmentNoise(flips=2))
    ends = _ends(monkeypatch, 0, json.dumps([_plain(seen)]))
    assert LAUNCHER.faulty(CASE, "one-code", HERE) == seen
    assert ends.command[ends.command.index("--fault") + 1] == "one-code"


def test_a_fault_that_kills_its_process_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _ends(monkeypatch, -4)
    found = LAUNCHER.faulty(CASE, "one-code", HERE)
    assert found.exact.outcome is found.other_float.outcome is Outcome.ERROR
    assert found.reason == "process ended with -4: Illegal"


def test_a_process_that_fails_otherwise_is_no_catch(monkeypatch: pytest.MonkeyPatch) -> None:
    _ends(monkeypatch, 1)
    with pytest.raises(QregError, match="process ended with 1"):
        LAUNCHER.faulty(CASE, "one-code", HERE)


def test_a_clean_case_that_cannot_be_made_ends_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"case": asdict(CASE), "reason": "no checkpoint"}
    _ends(monkeypatch, 0, json.dumps([failed]))
    with pytest.raises(QregError, match=r"static@onednn .*: no checkpoint"):
        LAUNCHER.record([CASE], HERE)


def test_limits_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    ends = _ends(monkeypatch, 0, "[]")
    LAUNCHER.clean([CASE], HERE, limits=("ONEDNN_MAX_CPU_ISA=AVX2",), threads=4)
    assert ends.environment["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "ATEN_CPU_CAPABILITY" not in ends.environment
    assert json.loads(ends.command[-1])["threads"] == 4


def test_only_onednns_own_activations_lose_without_vnni() -> None:
    lossy = [s.name for s in SETTINGS if true_loss(CASE, s)]
    assert lossy == ["fbgemm and oneDNN AVX2", "oneDNN AVX-512, no VNNI"]
    for method, engine in (("qat", "onednn"), ("dynamic", "onednn"), ("static", "x86")):
        other = Case("shapes10", "simple_cnn", method, engine)
        assert not any(true_loss(other, setting) for setting in SETTINGS)
