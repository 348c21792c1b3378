"""A gate in place of the real one, for what the command does with what it observes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qreg.baselines.store import Store
from qreg.records.baseline import Snapshot
from qreg.records.case import Case, Failure
from qreg.records.method import MethodInfo
from qreg.records.verdict import Basis, Check, Finding, Outcome, Verdict
from tests.unit.baselines import build


class World:
    """What the gate observes and how it is judged, in place of the real ones."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.observed: list[Case] = []
        self.outcomes: dict[Case, Outcome] = {}
        self.broken: set[Case] = set()
        self.seed = 0

    def observe(self, case: Case) -> Snapshot | Failure:
        self.observed.append(case)
        if case in self.broken:
            return Failure(case, "it raised", "", unavailable=False, details="Traceback: here")
        return build.snapshot(case=case, seed=self.seed)

    def judge(
        self,
        now: Snapshot,
        before: Any,
        basis: Basis,
        method: MethodInfo,
        *,
        alpha: float,
        **_: Any,
    ) -> Verdict:
        outcome = self.outcomes.get(now.case, Outcome.PASS)
        finding = Finding(Check.ACCURACY, outcome, "90 %", "80 %", "1 %")
        findings = () if outcome is Outcome.PASS else (finding,)
        return Verdict(now.case, outcome, basis, findings=findings)

    def held(self, case: Case) -> Snapshot:
        (found,) = self.store.read(case)
        return found.snapshot


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path / "baselines")
    found.store.root.mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "QREG_BASELINES"):
        monkeypatch.delenv(name, raising=False)

    class Gate:
        def __init__(self, options: object, *, full: bool) -> None:
            assert full

        def observe(self, case: Case) -> Snapshot | Failure:
            return found.observe(case)

        def notes(self, dataset: str) -> tuple[str, ...]:
            return ()

    monkeypatch.setattr("qreg.gate.observe.Gate", Gate)
    monkeypatch.setattr("qreg.gate.judge.judge", found.judge)
    return found
