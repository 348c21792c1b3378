"""A report of an upgrade, made without running anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qreg.records.case import Case
from qreg.speed.records import SideRecord
from qreg.upgrade.records import (
    Artifact,
    CaseUpgrade,
    Cell,
    FileOutcome,
    Sizes,
    UpgradeLevel,
    UpgradeReport,
)
from tests.unit.speed.fake import ENVIRONMENT
from tests.unit.upgrade.compare.test_case import PASS

CASE = Case("shapes10", "simple_cnn", "static", "x86")


def case(level: UpgradeLevel | None = UpgradeLevel.SAFE, **changes: Any) -> CaseUpgrade:
    """A case that is equal in everything, but for `changes`."""
    found = CaseUpgrade(
        case=CASE,
        level=level,
        cells=(Cell("2.14.1", "2.15.0", images=10), Cell("2.15.0", "2.14.1", images=10)),
        artifacts=(
            Artifact("state dict", FileOutcome.EQUAL),
            Artifact("TorchScript", FileOutcome.NOT_WRITTEN, "no"),
        ),
        sizes=Sizes((1000, 1010), (900, 900)),
        verdict=PASS,
    )
    return replace(found, **changes)


def side(version: str) -> SideRecord:
    """An interpreter with that PyTorch."""
    return SideRecord(version, "python", "", replace(ENVIRONMENT, torch=version))


REPORT = UpgradeReport(
    baseline=side("2.14.1"),
    candidate=side("2.15.0"),
    level=UpgradeLevel.SAFE,
    reasons=(),
    cases=(case(),),
    probes=3,
    interface=(),
    properties=4,
    invariants=(),
    speed=None,
    seconds=12.0,
)
