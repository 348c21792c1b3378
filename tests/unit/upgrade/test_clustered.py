"""Reports that machines send become one, of all cases between the same sides."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qreg.errors import QregError
from qreg.records.decode import plain
from qreg.upgrade.clustered import _read, joined
from qreg.upgrade.records import ChangeKind, InterfaceChange, UpgradeLevel
from tests.unit.upgrade.report.upgrade_report import CASE, REPORT, case

_LOST = InterfaceChange(ChangeKind.WARNING, "torch.thing", "", "deprecated")


def test_cases_and_changes_of_all_are_in_one_report_with_its_level() -> None:
    worse = case(UpgradeLevel.UNSAFE, case=replace(CASE, model="resnet20"), findings=("lost",))
    other = replace(REPORT, cases=(worse,), interface=(_LOST,))
    found = joined([replace(REPORT, interface=(_LOST,)), other], 7.0)
    assert found.cases == (*REPORT.cases, worse)
    assert found.interface == (_LOST,)
    assert found.level is UpgradeLevel.UNSAFE
    assert "resnet20" in found.reasons[0]
    assert (found.seconds, found.probes) == (7.0, REPORT.probes)
    assert joined([REPORT], 12.0) == REPORT


def test_a_report_travels_as_it_is_and_what_went_wrong_is_said() -> None:
    assert _read("a", json.loads(json.dumps(plain(REPORT)))) == REPORT
    with pytest.raises(QregError, match="d/net: cannot be installed") as caught:
        _read("d/net", {"error": "cannot be installed", "hint": "look"})
    assert caught.value.hint == "look"
    with pytest.raises(QregError, match="d/net: was lost 5 times"):
        _read("d/net", {"died": "was lost 5 times", "details": ""})
    with pytest.raises(QregError, match="the report of its machine"):
        _read("d/net", {"cases": 1})
